"""A database as the version before compact telemetry and environments wrote it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from engine.store import Store
from engine.store.artifacts import folder_of
from engine.store.schema import migrations
from engine.store.telemetry import unpacked

COMPACT = "0010_compact"
_OWN = {migrations.migrations_table, "sqlite_sequence", "changes"}
"""Tables that SQLite, the migrations and triggers fill."""


def as_before(current: Path, former: Path) -> Path:
    """Write what a database holds, and copy its artifacts, as of then; gives ``former``."""
    with Store(current, readonly=True) as store, closing(sqlite3.connect(former)) as connection:
        db = Database(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        migrations.apply(db, stop_before=COMPACT)
        with db.atomic():
            for table in sorted(set(db.table_names()) - _OWN):
                _copy(store.db, connection, table)
    if folder_of(current).exists():
        shutil.copytree(folder_of(current), folder_of(former))
    return former


def _copy(source: Database, target: sqlite3.Connection, table: str) -> None:
    target.execute(f"DELETE FROM {table}")
    names = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
    expressions = {name: f'"{name}"' for name in names}
    if table == "runs":
        expressions["environment"] = (
            "coalesce((SELECT content FROM environments WHERE id = environment_id), '{}')"
        )
    if table == "batches":
        source.conn.create_function("former", 1, lambda packed: json.dumps(unpacked(packed)))
        expressions["telemetry"] = "former(telemetry)"
    columns = ", ".join(f'"{name}"' for name in names)
    target.executemany(
        f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(names))})",
        source.conn.execute(f"SELECT {', '.join(expressions.values())} FROM {table}"),
    )
