"""Environments of runs, each content stored once: versions, device, precision, fingerprints.

All runs of a variant on the same machine have the same one.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from sqlite_utils import Database

from engine.store.columns import Payload
from engine.store.seals import damaged

if TYPE_CHECKING:
    from engine.store.database import ResultsDatabase

CREATE = """
    CREATE TABLE environments (
        id INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,     -- SHA-256 of the content
        content TEXT NOT NULL            -- versions, device, precision, fingerprints as JSON
    )
"""


def digest(content: bytes | None) -> bytes:
    """What tells contents apart."""
    return hashlib.sha256(content or b"").digest()


def environment_id(db: Database, environment: Payload) -> int:
    """The row with this content, made if there is none."""
    content = json.dumps(environment)
    key = digest(content.encode())
    db.execute(
        "INSERT INTO environments (digest, content) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (key, content),
    )
    return int(db.execute("SELECT id FROM environments WHERE digest = ?", (key,)).fetchone()[0])


_FITS = "digest = crumple_digest(CAST(content AS BLOB))"


def read_environment(db: ResultsDatabase, run_id: int) -> Payload:
    """That of a run; empty where there is none.

    A database of an earlier version, which is only read, has it in the row itself.

    Raises:
        StoreError: it is damaged.
    """
    if "environment" in db.run_columns:
        sql = "SELECT environment, TRUE FROM runs WHERE id = ?"
    else:
        sql = (
            f"SELECT coalesce(content, '{{}}'), environment_id IS NULL OR {_FITS} FROM runs "
            "LEFT JOIN environments ON environments.id = environment_id WHERE runs.id = ?"
        )
    try:
        ((content, whole),) = db.tuples(sql, (run_id,))
        found = json.loads(content) if whole else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise damaged(f"data on the environment of run {run_id}")
    return found


def machines(db: ResultsDatabase) -> tuple[str, str]:
    """SQL for a table ``machines`` (``platform``, ``device``), and how runs are joined to it."""
    named = (
        "json_extract({0}, '$.platform') AS platform, "
        "json_extract({0}, '$.device_description') AS device"
    )
    if "environment" in db.run_columns:
        table, key, content = "runs WHERE json_valid(environment)", "runs.id", "environment"
    else:
        table, key, content = f"environments WHERE {_FITS}", "environment_id", "content"
    return (
        f"machines AS MATERIALIZED (SELECT id, {named.format(content)} FROM {table})",
        f"LEFT JOIN machines ON machines.id = {key}",
    )
