"""Rows that are gone: stages that a finished run was made from, pairs that were to be judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby, product

from engine.store.columns import Payload
from engine.store.database import ResultsDatabase
from engine.store.faults import Fault
from engine.store.transfers import Pair, groups_alike, pair_of
from engine.store.writer import Writer

_OF_RUNS = """
    SELECT min(runs.id), count(*), {key}
    FROM runs JOIN environments ON environments.id = environment_id
    WHERE status = 'finished' AND {known} AND {key} NOT IN (SELECT key FROM stages)
        AND {group} NOT IN (SELECT {group} FROM runs WHERE status IN ('waiting', 'running'))
    GROUP BY {key} ORDER BY min(runs.id)
"""
"""Runs say which stages made them; those of before they did are not asked."""

_STAGES = {
    "accounting": {
        "key": "variant_key",
        "known": "json_valid(content) AND json_type(content, '$.stages.variant') NOT NULL",
        "group": "variant_key",
    },
    "gate": {
        "key": "CASE WHEN json_valid(checks) THEN json_extract(checks, '$.gate') END",
        "known": "json_valid(checks) AND json_type(checks, '$.gate') = 'text'",
        "group": "variant_key || data_key",
    },
}


def stages(db: ResultsDatabase, again: Callable[..., None]) -> Iterator[Fault]:
    """Finished runs whose variant has no figures any more, or whose gate has none.

    One run of the variant that is computed anew brings them back for all; while one waits for
    that, there is nothing to mend.
    """
    if "environment_id" not in db.run_columns:
        return
    for what, parts in _STAGES.items():
        for run_id, count, key in list(db.tuples(_OF_RUNS.format(**parts))):
            more = f" and of {count - 1} more of its variant" if count > 1 else ""
            yield Fault(
                f"The {what} of run {run_id}{more} is missing: there is no stage {key[:12]}.",
                f"Run {run_id} waits, and is computed anew, and the stage with it.",
                partial(again, run_id=run_id),
            )


def pairs(db: ResultsDatabase) -> Iterator[Fault]:
    """Pairs of runs that the transfer stage of a study let wait, and that have no row.

    It lets all pairs of all groups of runs that are alike wait at once (``groups_alike``) when no
    run of the study is left, so runs of a group that were paired were paired with each other. And
    where one of them is in no other study, all that had finished before it were paired, too. Runs
    that finished in another study later were not.
    """
    if "transfers" not in db.table_names():
        return
    lacking: dict[int, set[Pair]] = {}
    for _, members in groupby(db.query(_PAIRED), key=lambda row: row["study_id"]):
        for pair in _lacking(db, list(members)):
            lacking.setdefault(pair.source, set()).add(pair)
    for source, gone in sorted(lacking.items()):
        targets = ", ".join(str(pair.target) for pair in sorted(gone))
        yield Fault(
            f"The examples of run {source} are to be judged on run {targets}, and no row says so.",
            "The pairs wait, and are judged when their study is run.",
            partial(_plan, planned=sorted(gone)),
        )


_PAIRED = """
    SELECT study_id, runs.id, key, variant_key, data_key, spec, status, finished,
        coalesce(deleted, 0) AS deleted,
        (SELECT count(*) FROM study_runs AS each WHERE each.run_id = runs.id) AS studies
    FROM study_runs JOIN runs ON runs.id = study_runs.run_id
    LEFT JOIN annotations ON annotations.run_id = runs.id
    WHERE study_id IN (
        SELECT study_id FROM study_runs WHERE run_id IN (SELECT target_run FROM transfers)
    ) AND study_id NOT IN (
        SELECT study_id FROM study_runs JOIN runs ON runs.id = study_runs.run_id
        WHERE status IN ('waiting', 'running')
    )
    ORDER BY study_id, study_runs.position
"""
"""All runs of the studies that are done and of which a run is paired."""

_ROWS = """
    SELECT source_run, target_run FROM transfers
    WHERE source_run IN (SELECT value FROM json_each(:runs))
        AND target_run IN (SELECT value FROM json_each(:runs))
"""


def _with_specs(rows: list[Payload]) -> Iterator[Payload]:
    for row in rows:
        try:
            spec = json.loads(row["spec"])
            if {"attack", "seed", "keep_images"} <= spec.keys():
                yield {**row, "spec": spec}
        except (ValueError, TypeError, AttributeError):
            continue  # told by the other checks


def _lacking(db: ResultsDatabase, members: list[Payload]) -> Iterator[Pair]:
    """The pairs of a study that were let wait and have no row."""
    ids = json.dumps([row["id"] for row in members])
    there = {(row["source_run"], row["target_run"]) for row in db.query(_ROWS, {"runs": ids})}
    paired = {run_id for pair in there for run_id in pair}
    own = [row for row in members if row["studies"] == 1 and row["id"] in paired]
    until = max((row["finished"] or "" for row in own), default="")
    for rows in groups_alike(_with_specs(members)):
        those = [row for row in rows if row["id"] in paired or (row["finished"] or "~") <= until]
        for source, target in product(those, those):
            if len(those) > 1 and (source["id"], target["id"]) not in there:
                yield pair_of(source, target)


def _plan(store: Writer, planned: list[Pair]) -> None:
    store.transfer_queue.plan(planned)
