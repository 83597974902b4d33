"""Opening the database: pragmas, migrations, transactions, and SQLite's errors in words."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from engine.errors import StoreError
from engine.store import seals
from engine.store.environments import digest
from engine.store.file_guard import FileGuard
from engine.store.schema import migrations

_MAGIC = b"SQLite format 3\x00"
_NO_FILES = ("", ".", ":memory:")
"""Names that SQLite or pathlib take for something else than a file."""

PAGE_SIZE = 8192
"""Bytes: twice SQLite's usual, which rows of runs and of telemetry leave a quarter empty."""

PATIENCE = 5.0
"""Seconds that a reader or a person's edit waits for another process that writes."""

NOT_DELETED = "runs.id NOT IN (SELECT run_id FROM annotations WHERE deleted)"
"""Of runs: deleted ones are in no list and no queue until they are brought back."""


def same_repeat(one: str, other: str) -> str:
    """SQL for whether two runs are of one repeat: of one seed, and of one for the attack.

    Repeats are independent only as long as no run of one has a part in what another finds. A
    damaged spec is of none, and no error.
    """
    return " AND ".join(
        " IS ".join(
            f"CASE WHEN json_valid({run}.spec) THEN json_extract({run}.spec, '$.{seed}') END"
            for run in (one, other)
        )
        for seed in ("seed", "attack_seed")
    )


_MAKING_MS = 120_000
"""Waited for another process that makes the tables or brings them up, in milliseconds: of a large
database that takes a minute, and a disk that is busy with other files makes any of it slow."""

ANOTHER = "Name another with --db."


class ResultsDatabase(Database):
    """A connection whose transactions wait for their turn and whose errors are ``StoreError``s.

    Args:
        connection: to the file.
        path: of the file, for messages.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._path, self._guard = path, FileGuard(path)
        try:
            super().__init__(connection, execute_plugins=False)  # of packages that lie around
        except BaseException:
            self._guard.release()
            raise
        seals.prepare(connection)
        connection.create_function("crumple_digest", 1, digest, deterministic=True)
        self._handed = _Handed()
        connection.create_function("crumple_row", -1, self._handed.take)

    @contextmanager
    def atomic(self) -> Generator[Database, None, None]:
        """A transaction, a savepoint inside one; rolled back where an error leaves it.

        It takes the lock for writing when it begins, and so waits its turn: SQLite lets none
        wait that reads first and writes then.

        Raises:
            StoreError: another process wrote for too long, the disk is full, or the file is
                another than the one that was opened.
        """
        if self.conn.in_transaction:
            with super().atomic():
                yield self
            return
        self._guard.check_writing()
        try:
            self.conn.execute("BEGIN IMMEDIATE")
            try:
                yield self
                self._guard.check_identity()
            except BaseException:
                self.rollback()
                raise
            self.commit()
        except sqlite3.Error as error:
            self.rollback()
            raise in_words(error, self._path) from error

    @cached_property
    def run_columns(self) -> frozenset[str]:
        """Of ``runs``; a database of an earlier version, which is only read, lacks later ones."""
        return frozenset(name for _, name, *_ in self.conn.execute("PRAGMA table_info(runs)"))

    @property
    def supports_on_conflict(self) -> bool:
        """SQLite does since 3.24.

        To find out, the library makes a table; where the disk is full that fails, and it would
        write with ``INSERT OR IGNORE`` instead, which loses the row without a word.
        """
        return True

    def execute(self, *args: Any, **kwargs: Any) -> sqlite3.Cursor:
        """As ``Database.execute``.

        Raises:
            StoreError: the file is damaged, or cannot be read or written.
        """
        self._ask()
        try:
            return super().execute(*args, **kwargs)
        except sqlite3.Error as error:
            raise in_words(error, self._path) from error

    def query(self, *args: Any, **kwargs: Any) -> Generator[dict[str, Any], None, None]:
        """The rows, as ``Database.query``.

        Raises:
            StoreError: the file is damaged or cannot be read.
        """
        self._ask()
        try:
            yield from super().query(*args, **kwargs)
        except sqlite3.Error as error:
            raise in_words(error, self._path) from error

    def tuples(self, sql: str, params: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows as tuples, read as they are asked for.

        Raises:
            StoreError: the file is damaged or cannot be read.
        """
        self._ask()
        try:
            yield from self.conn.execute(sql, params)
        except sqlite3.Error as error:
            raise in_words(error, self._path) from error

    def rows(self, sql: str, params: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """As ``tuples``, of SQL that selects ``crumple_row(...)`` and nothing else.

        With dozens of columns it takes half as long: SQLite locks itself for every value of a
        result, but not for those that it hands to a function.

        Raises:
            StoreError: the file is damaged or cannot be read.
        """
        return map(self._handed.give, self.tuples(sql, params))

    def close(self) -> None:
        """Close the connection, unless that would end the process (``FileGuard.close``)."""
        self._guard.close(self.conn)

    def _ask(self) -> None:
        if not self.conn.in_transaction:
            self._guard.check_reading()


class _Handed:
    """The rows that a query handed to ``crumple_row``, until their numbers come as its result.

    Where SQLite sorts, it may hand over all before it gives the first.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._rows: dict[int, tuple[Any, ...]] = {}

    def take(self, *values: Any) -> int:
        number = next(self._numbers)
        self._rows[number] = values
        return number

    def give(self, result: tuple[int]) -> tuple[Any, ...]:
        return self._rows.pop(result[0])


def open_database(
    path: Path, *, readonly: bool = False, patience: float = PATIENCE
) -> ResultsDatabase:
    """Open, and unless ``readonly`` create and migrate, the database.

    Args:
        patience: seconds to wait for another process that writes.

    Raises:
        StoreError: missing (when readonly), not a database, of a newer version, or not writable.
    """
    check_file(path, readonly)
    try:
        connection = sqlite3.connect(path, timeout=patience, check_same_thread=True)
    except sqlite3.Error as error:
        raise _refused(path, error) from None
    try:
        db = ResultsDatabase(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise _refused(path, error) from None
    except StoreError:
        connection.close()  # it has read nothing yet, and so writes nothing
        raise
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        if readonly:
            connection.execute("PRAGMA query_only = ON")
        else:
            _prepare(db)
        _check_tables(db, path)
    except sqlite3.Error as error:
        db.close()
        raise _refused(path, error) from None
    except StoreError:
        db.close()
        raise
    return db


def is_outdated(path: Path) -> bool:
    """Whether a file is of an earlier version: opening it brings it up, which can take a minute.

    What cannot be used is not; opening it says why.
    """
    try:
        with open_database(path, readonly=True) as db:
            return bool(migrations.pending(db))
    except StoreError:
        return False


def _prepare(db: ResultsDatabase) -> None:
    """Bring the tables up, in one transaction: of two at once, one finds them made."""
    _check_foreign(db)
    (patience,) = db.execute("PRAGMA busy_timeout").fetchone()
    db.execute(f"PRAGMA busy_timeout = {max(patience, _MAKING_MS)}")
    if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")  # for a file that is still empty
        db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    if migrations.pending(db):
        with db.atomic():
            _check_foreign(db)
            migrations.apply(db)
        _shrink(db)
    db.execute(f"PRAGMA busy_timeout = {patience}")


def _shrink(db: ResultsDatabase) -> None:
    """Give back what a migration left unused, if that is most of the file.

    It is no loss if that does not work, with another process at work or with no room for a
    second copy: new rows go where the old ones were.
    """
    pages, free = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")
    )
    if 2 * free < pages:
        return
    (patience,) = db.execute("PRAGMA busy_timeout").fetchone()
    db.execute("PRAGMA busy_timeout = 0")
    with suppress(StoreError):
        try:
            db.execute("PRAGMA journal_mode = DELETE")  # the size of pages stays with WAL
            db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            db.execute("VACUUM")
        finally:
            db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA busy_timeout = {patience}")


def _check_foreign(db: Database) -> None:
    tables = db.table_names()
    if tables and "runs" not in tables:
        raise sqlite3.DatabaseError("no such table: runs")


def _check_tables(db: ResultsDatabase, path: Path) -> None:
    if not db.table_names():
        raise StoreError(f"The database {path} is empty.", "Run a study into it first.")
    newer = sorted({one.name for one in migrations.applied(db)} - _known())
    if newer:
        raise StoreError(
            f"The database {path} was made by a newer Crumple ({newer[0]}).",
            "Update Crumple, or name another with --db.",
        )
    db.execute("SELECT count(*) FROM runs")


@cache
def _known() -> frozenset[str]:
    """The changes of the tables that this version knows: those that an empty database lacks."""
    empty = Database(memory=True, execute_plugins=False)
    try:
        return frozenset(one.name for one in migrations.pending(empty))
    finally:
        empty.close()


def check_file(path: Path, readonly: bool) -> None:
    """See that a path can be that of a database, before SQLite does something else with it.

    Raises:
        StoreError: no name of a file, something else than a file, or a file of others.
    """
    if str(path) in _NO_FILES or str(path).startswith("file:"):
        raise StoreError(f"{str(path)!r} is no name of a file for a database.", "Name a file.")
    try:
        if path.is_dir():
            raise StoreError(f"The database {path} is a folder.", "Name a file.")
        if path.exists():
            if not path.is_file():
                raise StoreError(f"The database {path} is no regular file.", "Name a file.")
            with path.open("rb") as file:
                head = file.read(16)
            if head and head != _MAGIC:
                raise StoreError(f"The file {path} is not a Crumple database.", ANOTHER)
        elif readonly:
            raise StoreError(f"There is no database {path}.", "Run a study first, or name --db.")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        shown = path if len(str(path)) < 300 else f"{str(path)[:300]}…"
        raise StoreError(
            f"The database {shown} cannot be opened: {error.strerror}.",
            "Choose a folder that you can write to.",
        ) from None


def _refused(path: Path, error: sqlite3.Error) -> StoreError | sqlite3.Error:
    reason = str(error)
    if "no such table" in reason:
        return StoreError(f"The file {path} is not a Crumple database.", ANOTHER)
    if _is(error, "BUSY", "LOCKED"):
        return in_words(error, path)
    hint = "Choose a folder that you can write to, or another file with --db."
    return StoreError(f"The database {path} cannot be opened: {reason}.", hint)


def _is(error: sqlite3.Error, *kinds: str) -> bool:
    name = getattr(error, "sqlite_errorname", "") or ""
    return name.removeprefix("SQLITE_").split("_")[0] in kinds


_OF_DAMAGE = ("decode to UTF-8", "malformed JSON", "user-defined function raised")
"""What SQLite and its functions say of cells that are not what was written."""


def in_words(error: sqlite3.Error, path: Path) -> StoreError | sqlite3.Error:
    """What an error of SQLite means for a person; one that is a fault of ours stays as it is."""
    if _is(error, "BUSY", "LOCKED"):
        return StoreError(
            f"Another process has been writing into the database {path} for too long.",
            "Wait until it is done, then try again.",
        )
    if _is(error, "FULL"):
        return StoreError(
            f"There is no room left for the database {path}.",
            "Make room on the disk, then run the study again with --resume.",
        )
    if _is(error, "READONLY", "CANTOPEN", "PERM", "AUTH"):
        return StoreError(
            f"The database {path} can no longer be written: {error}.",
            "Check the rights of the file and its folder, then try again.",
        )
    if _is(error, "IOERR"):
        return StoreError(
            f"The database {path} cannot be read or written: {error}.",
            "Check the disk, then try again.",
        )
    if _is(error, "NOTADB"):
        return StoreError(f"The database {path} cannot be opened: {error}.", ANOTHER)
    if _is(error, "CORRUPT") or any(words in str(error) for words in _OF_DAMAGE):
        return StoreError(
            f"The database {path} is damaged: {error}.", "Restore it from a copy of the file."
        )
    return error
