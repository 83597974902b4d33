"""Which models stored and queued runs use."""

from __future__ import annotations

from dataclasses import dataclass

from sqlite_utils import Database


@dataclass(frozen=True)
class ModelUsage:
    """Where a model is used, as the base of a run or as a teacher in its recipe.

    Attributes:
        runs: runs that are not deleted.
        studies: studies that these belong to.
        active: runs, deleted or not, that wait or run.
    """

    runs: int = 0
    studies: int = 0
    active: int = 0


_USERS = """
    SELECT id AS run_id, status, model AS name FROM runs WHERE {which}
    UNION
    SELECT runs.id, status, param.value
    FROM runs, json_each(spec, '$.recipe') AS step, json_each(step.value, '$.params') AS param
    WHERE {which} AND spec LIKE '%"teacher%' AND param.key LIKE 'teacher%' AND param.type = 'text'
"""

_USAGE = f"""
    WITH users AS ({_USERS.format(which="1")})
    SELECT name,
        count(DISTINCT CASE WHEN coalesce(deleted, 0) = 0 THEN users.run_id END) AS runs,
        count(DISTINCT CASE WHEN coalesce(deleted, 0) = 0 THEN study_id END) AS studies,
        count(DISTINCT CASE WHEN status IN ('waiting', 'running') THEN users.run_id END) AS active
    FROM users
    LEFT JOIN study_runs ON study_runs.run_id = users.run_id
    LEFT JOIN annotations ON annotations.run_id = users.run_id
    GROUP BY name
"""


def model_usage(db: Database) -> dict[str, ModelUsage]:
    """By model id; models that no run uses are left out."""
    return {
        row["name"]: ModelUsage(row["runs"], row["studies"], row["active"])
        for row in db.query(_USAGE)
    }


def count_active(db: Database, model: str) -> int:
    """How many runs that wait or run use a model, deleted or not; quick at any size."""
    active = _USERS.format(which="status IN ('waiting', 'running')")
    sql = f"SELECT count(DISTINCT run_id) AS n FROM ({active}) WHERE name = ?"
    (row,) = db.query(sql, (model,))
    return int(row["n"])
