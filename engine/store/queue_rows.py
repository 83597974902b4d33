"""All runs in the order of the queue."""

from __future__ import annotations

from typing import cast

from engine.store.columns import QUEUE_COLUMNS, Payload, QueueRow
from engine.store.database import ResultsDatabase
from engine.store.result_rows import DAMAGED, read_json
from engine.store.seals import fits

_UNKNOWN: Payload = {
    **dict.fromkeys(("dataset", "model", "compression", "attack"), "?"),
    **dict.fromkeys(("created", "started", "finished"), ""),
    **{"status": "failed", "recipe": [], "seconds": None, "message": DAMAGED["text"]},
}
"""What the queue shows of a run whose row does not fit its seal."""


def queue_rows(db: ResultsDatabase) -> list[QueueRow]:
    """``QUEUE_COLUMNS`` of every run that is not deleted."""
    columns = ", ".join(f"runs.{name}" for name in QUEUE_COLUMNS[2:])
    rows = list(
        db.query(
            f"SELECT runs.id AS run_id, NULL AS study, {columns}, "
            f"{fits('runs', db.run_columns)} AS whole FROM runs "
            "LEFT JOIN annotations ON annotations.run_id = runs.id "
            "WHERE coalesce(deleted, 0) = 0 ORDER BY position"
        )
    )
    names = db.query(
        "SELECT run_id, name FROM study_runs JOIN studies ON studies.id = study_id "
        "ORDER BY created, studies.id"
    )
    newest = {row["run_id"]: row["name"] for row in names}
    for row in rows:
        row["study"] = newest.get(row["run_id"])
        if row.pop("whole"):
            row["recipe"] = read_json(row["recipe"], row["run_id"], "recipe")
        else:
            row |= _UNKNOWN
    return cast(list[QueueRow], rows)
