"""How far the queue is, without a look at what ended long ago."""

from __future__ import annotations

from dataclasses import dataclass

from sqlite_utils import Database


@dataclass(frozen=True)
class QueueCounts:
    """The runs of all studies that have runs which wait or run.

    Attributes:
        waiting: runs that wait.
        ended: runs of these studies that neither wait nor run; one of two studies counts twice.
        runs: all runs of these studies.
    """

    waiting: int
    ended: int
    runs: int


_IN_WORK = """
    WITH at_work AS (
        SELECT id, status FROM runs WHERE status IN ('waiting', 'running')
            AND (status = 'running' OR id NOT IN (SELECT run_id FROM annotations WHERE deleted))
    ), active AS (
        SELECT study_id, count(*) AS unfinished FROM study_runs JOIN at_work ON id = run_id
        GROUP BY study_id
    )
    SELECT (SELECT count(*) FROM at_work WHERE status = 'waiting') AS waiting,
        coalesce(sum(unfinished), 0) AS unfinished,
        coalesce(sum((SELECT count(*) FROM study_runs AS other
            WHERE other.study_id = active.study_id)), 0) AS runs
    FROM active
"""


def queue_counts(db: Database) -> QueueCounts:
    """Counted from the runs that wait or run, of which there are few beside all others."""
    (row,) = db.query(_IN_WORK)
    return QueueCounts(row["waiting"], row["runs"] - row["unfinished"], row["runs"])
