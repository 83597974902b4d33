"""Opening the database: pragmas, migrations, and errors in words."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlite_utils import Database

from engine.errors import StoreError
from engine.store.schema import migrations

_MAGIC = b"SQLite format 3\x00"


def open_database(path: Path, *, readonly: bool = False) -> Database:
    """Open, and unless ``readonly`` create and migrate, the database.

    Raises:
        StoreError: missing (when readonly), not a database, or not writable.
    """
    _check_file(path, readonly)
    try:
        connection = sqlite3.connect(path, timeout=5.0, check_same_thread=True)
    except sqlite3.Error as error:
        raise _refused(path, error) from None
    db = Database(connection)
    try:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("PRAGMA foreign_keys = ON")
        tables = db.table_names()
        if tables and "runs" not in tables:
            raise sqlite3.DatabaseError("no such table: runs")
        if readonly:
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            migrations.apply(db)
        connection.execute("SELECT count(*) FROM runs")
    except sqlite3.Error as error:
        db.close()
        raise _refused(path, error) from None
    return db


def _check_file(path: Path, readonly: bool) -> None:
    if path.is_dir():
        raise StoreError(f"The database {path} is a folder.", "Name a file.")
    try:
        if path.exists():
            with path.open("rb") as file:
                head = file.read(16)
            if head and head != _MAGIC:
                raise StoreError(
                    f"The file {path} is not a Crumple database.", "Name another with --db."
                )
        elif readonly:
            raise StoreError(f"There is no database {path}.", "Run a study first, or name --db.")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The database {path} cannot be opened: {error.strerror}.",
            "Choose a folder that you can write to.",
        ) from None


def _refused(path: Path, error: sqlite3.Error) -> StoreError:
    reason = str(error)
    if "no such table" in reason:
        return StoreError(f"The file {path} is not a Crumple database.", "Name another with --db.")
    hint = "Choose a folder that you can write to, or another file with --db."
    return StoreError(f"The database {path} cannot be opened: {reason}.", hint)
