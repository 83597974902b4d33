"""What changed of all runs since a reader looked last, column by column.

Triggers number every change of a run, of its notes and of the studies it belongs to
(``schema``); a reader remembers the last number that it has seen and asks for what came after.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engine.store import seals
from engine.store.database import ResultsDatabase
from engine.store.distances import without_limit
from engine.store.result_rows import NAIVE

Kind = Literal["integer", "real", "text", "time", "json"]

MISSING = np.iinfo(np.int64).min
"""NULL in a column of integers; in one of reals it is NaN, in one of times empty."""

CHUNK = 10_000
"""Runs that are read at a time: about 60 ms."""

_KINDS: Mapping[Kind, str] = {
    "integer": "n parameters nonzero_parameters size_bytes dense_bytes file_bytes transfer_n "
    "black_box_n position total done attempts",
    "real": "compression_rate eps clean_accuracy robust_accuracy ci_low ci_high "
    "avg_perturbation_l2 avg_perturbation_linf queries_per_sample seconds achieved_sparsity "
    "weight_bits transfer_accuracy black_box_accuracy median_distance",
    "text": "dataset model compression attack attack_id norm status message hint reason stage "
    "traceback",
    "time": "created started finished",
}

_SOUND = (
    "CASE WHEN coalesce(json_valid(verdict), 1) "
    "THEN coalesce(json_type(verdict, '$.survivors'), 'null') IN ('integer', 'null') END"
)
"""Of a verdict: what is not so is no verdict, and read as damaged flags (``run_table``)."""

_NAIVE = f"instr(checks, '{NAIVE}') AND json_valid(checks)"

COLUMNS: Mapping[str, tuple[Kind, str]] = {
    **{name: (kind, f"runs.{name}") for kind, names in _KINDS.items() for name in names.split()},
    "seed": ("integer", "runs.seed"),
    "steps": ("integer", "runs.steps"),
    "naive_accuracy": (
        "real",
        f"CASE WHEN {_NAIVE} THEN json_extract(checks, '$.naive.held') * 1.0 "
        "/ nullif(json_extract(checks, '$.naive.n'), 0) END",
    ),
    "worst_case": (
        "real",
        f"CASE WHEN {_SOUND} THEN json_extract(verdict, '$.survivors') * 1.0 / nullif(n, 0) END",
    ),
    "tags": ("text", "coalesce(annotations.tags, '')"),
    "note": ("text", "coalesce(annotations.note, '')"),
    "deleted": ("integer", "coalesce(annotations.deleted, 0)"),
    "recipe": ("json", "runs.recipe"),
    "flags": (
        "json",
        f"runs.flags || char(10) || CASE WHEN {_SOUND} "
        "THEN coalesce(json_extract(verdict, '$.flags'), '[]') ELSE verdict END",
    ),
}
"""Kind and SQL of each column; ``study`` is not among them, since memberships give it."""

_OF_RUNS = (
    "WHERE studies.id IN (SELECT study_id FROM study_runs "
    "WHERE run_id IN (SELECT value FROM json_each(?)))"
)
_OF_LIMIT = ("robust_accuracy", "ci_low", "ci_high", "worst_case")


@dataclass(frozen=True)
class Coded:
    """Texts as numbers of the distinct ones: ``values[codes[i]]``."""

    codes: npt.NDArray[np.int32]
    values: list[str | None]


Part = npt.NDArray[Any] | Coded


@dataclass(frozen=True)
class StudyMembers:
    """A study and the ids of its runs, in its order."""

    id: int
    name: str
    created: str
    run_ids: npt.NDArray[np.int64]


@dataclass(frozen=True)
class RunChanges:
    """Runs that changed, as they are now.

    Attributes:
        version: the number of the last change that is in it; None in all but the last chunk.
        run_ids: ascending.
        columns: of these runs, by the names of ``COLUMNS``; none where they come later.
        gone: ids that are no more.
        studies: those that have one of the runs or were started again.
    """

    version: int | None
    run_ids: npt.NDArray[np.int64]
    columns: Mapping[str, Part]
    gone: Sequence[int] = ()
    studies: Sequence[StudyMembers] = ()


def read_changes(db: ResultsDatabase, since: int | None) -> Iterator[RunChanges]:
    """What came after the change ``since``, in chunks; everything where that is None.

    All chunks are of one moment. Of everything the first one has the studies and all ids.
    """
    with _one_moment(db):
        (row,) = db.query("SELECT coalesce(max(at), 0) AS version FROM changes")
        version = int(row["version"])
        if since is None:
            yield from _whole(db, version)
        elif version > since:
            yield _changed(db, since, version)


@contextmanager
def _one_moment(db: ResultsDatabase) -> Iterator[None]:
    """Everything that is read in here belongs together, whatever others write."""
    db.conn.execute("BEGIN")
    try:
        yield
    finally:
        db.conn.rollback()


def _whole(db: ResultsDatabase, version: int) -> Iterator[RunChanges]:
    """First all ids, so that each run has its place, then the runs, the newest first.

    Their seals take as long again as the runs themselves, and are looked at last.
    """
    ids = [run_id for (run_id,) in db.tuples("SELECT id FROM runs ORDER BY id")]
    yield RunChanges(None, np.array(ids, np.int64), {}, studies=_studies(db, None))
    for end in range(len(ids), 0, -CHUNK):
        which = f"runs.id BETWEEN {ids[max(0, end - CHUNK)]} AND {ids[end - 1]}"
        yield as_changes(_rows(db, which), None)
    damaged = _rows(db, f"NOT {_fits(db)}")
    yield as_changes([_unread(row) for row in damaged], version)


def _changed(db: ResultsDatabase, since: int, version: int) -> RunChanges:
    ids = [run_id for (run_id,) in db.tuples("SELECT run_id FROM changes WHERE at > ?", (since,))]
    text = json.dumps(ids)
    among = "runs.id IN (SELECT value FROM json_each(?))"
    damaged = {row[0] for row in _rows(db, f"{among} AND NOT {_fits(db)}", (text,))}
    rows = [_unread(row) if row[0] in damaged else row for row in _rows(db, among, (text,))]
    gone = sorted(set(ids) - {row[0] for row in rows})
    return as_changes(rows, version, gone, _studies(db, text))


def _fits(db: ResultsDatabase) -> str:
    return seals.fits("runs", db.run_columns)


def _unread(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A run that is not what was written: its numbers are nobody's, and its flags say so."""
    values = [
        None if kind == "real" else "damaged" if name == "flags" else value
        for (name, (kind, _)), value in zip(COLUMNS.items(), row[1:], strict=True)
    ]
    return (row[0], *values)


def _rows(db: ResultsDatabase, which: str, given: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    columns = ", ".join(
        f"coalesce({sql}, {MISSING})" if kind == "integer" else sql
        for kind, sql in COLUMNS.values()
    )
    sql = f"SELECT runs.id, {columns} FROM runs LEFT JOIN annotations ON run_id = runs.id"
    return list(db.tuples(f"{sql} WHERE {which} ORDER BY runs.id", tuple(given)))


def _studies(db: ResultsDatabase, run_ids: str | None) -> list[StudyMembers]:
    """All studies, or those of these runs (as a JSON list)."""
    which = "" if run_ids is None else _OF_RUNS
    given = () if run_ids is None else (run_ids,)
    members: dict[tuple[int, str, str], list[int]] = {}
    for id_, name, created, run_id in db.tuples(
        "SELECT studies.id, name, studies.created, run_id FROM studies "
        f"JOIN study_runs ON study_id = studies.id {which} ORDER BY studies.id, position",
        given,
    ):
        members.setdefault((id_, name, created), []).append(run_id)
    return [StudyMembers(*head, np.array(ids, np.int64)) for head, ids in members.items()]


def as_changes(
    rows: Sequence[tuple[Any, ...]],
    version: int | None,
    gone: Sequence[int] = (),
    studies: Sequence[StudyMembers] = (),
) -> RunChanges:
    """Rows by columns; each the id of a run, ascending, and its values of ``COLUMNS``."""
    parts = list(zip(*rows, strict=True)) if rows else [()] * (len(COLUMNS) + 1)
    columns = {
        name: _part(kind, values)
        for (name, (kind, _)), values in zip(COLUMNS.items(), parts[1:], strict=True)
    }
    _forget_shares(columns)
    return RunChanges(version, np.array(parts[0], np.int64), columns, gone, studies)


def _part(kind: Kind, values: Sequence[Any]) -> Part:
    match kind:
        case "integer":
            return np.array(values, np.int64)
        case "real":
            return np.array(values, np.float64)
        case "time":
            return np.array([(value or "").encode() for value in values], "S")
    numbers: dict[str | None, int] = {}
    codes = [numbers.setdefault(value, len(numbers)) for value in values]
    return Coded(np.array(codes, np.int32), list(numbers))


def _forget_shares(columns: Mapping[str, Part]) -> None:
    """An attack that takes the closest example however far it is has no robust accuracy."""
    eps, ids, norms = columns["eps"], columns["attack_id"], columns["norm"]
    assert not isinstance(eps, Coded)
    assert isinstance(ids, Coded)
    assert isinstance(norms, Coded)
    known: dict[tuple[int, int], bool] = {}
    for place in np.flatnonzero(np.isnan(eps)).tolist():
        pair = int(ids.codes[place]), int(norms.codes[place])
        if pair not in known:
            row = {"eps": None, "attack_id": ids.values[pair[0]], "norm": norms.values[pair[1]]}
            known[pair] = row["attack_id"] is not None and without_limit(row)
        if known[pair]:
            for name in _OF_LIMIT:
                part = columns[name]
                assert not isinstance(part, Coded)
                part[place] = np.nan
