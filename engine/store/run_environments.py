"""Reading the environments of runs, also from a database of an earlier version."""

from __future__ import annotations

import json

from engine.store.columns import Payload
from engine.store.database import ResultsDatabase
from engine.store.seals import damaged

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
