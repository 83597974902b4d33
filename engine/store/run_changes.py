"""What changed of all runs since a reader looked last, column by column.

Triggers number every change of a run, of its notes and of the studies it belongs to
(``schema``); a reader remembers the last number that it has seen and asks for what came after.
"""

from __future__ import annotations

import itertools
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engine.store.database import ResultsDatabase
from engine.store.distances import without_limit
from engine.store.result_rows import IN_PLACE, NAIVE, Told
from engine.store.seals import READ, is_whole

Kind = Literal["integer", "real", "text", "time", "json"]

MISSING = np.iinfo(np.int64).min
"""NULL in a column of integers; in one of reals it is NaN, in one of times empty."""

CHUNK = 10_000
"""Runs that are read at a time: about 80 ms."""

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
    "robust_of_correct": (
        "real",
        "min(runs.robust_accuracy / nullif(runs.clean_accuracy, 0.0), 1.0)",
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
    "WHERE study_id IN (SELECT study_id FROM study_runs "
    "WHERE run_id IN (SELECT value FROM json_each(?)))"
)
_OF_LIMIT = ("robust_accuracy", "ci_low", "ci_high", "robust_of_correct", "worst_case")


@dataclass(frozen=True)
class Coded:
    """Texts as numbers of the distinct ones: ``values[codes[i]]``."""

    codes: npt.NDArray[np.int32]
    values: list[str | None]


Part = npt.NDArray[Any] | Coded

_SEALED = tuple(f"runs.{name}" for name in READ)
_READ = tuple(dict.fromkeys((*_SEALED, "runs.id", *(sql for _, sql in COLUMNS.values()))))
"""SQL of what is read of a run: first what its seal is looked at by, so that all comes once."""


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
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.conn.rollback()


def _whole(db: ResultsDatabase, version: int) -> Iterator[RunChanges]:
    """First all ids, so that each run has its place, then the runs, the newest first."""
    ids = [run_id for (run_id,) in db.tuples("SELECT id FROM runs ORDER BY id")]
    yield RunChanges(None, np.array(ids, np.int64), {}, studies=_studies(db, None))
    for end in range(len(ids), 0, -CHUNK):
        which = f"runs.id BETWEEN {ids[max(0, end - CHUNK)]} AND {ids[end - 1]}"
        yield as_changes(_told(db, which), None)
    yield RunChanges(version, np.array([], np.int64), {})


def _changed(db: ResultsDatabase, since: int, version: int) -> RunChanges:
    ids = [run_id for (run_id,) in db.tuples("SELECT run_id FROM changes WHERE at > ?", (since,))]
    text = json.dumps(ids)
    told = _told(db, "runs.id IN (SELECT value FROM json_each(?))", (text,))
    found = as_changes(told, version, studies=_studies(db, text))
    return replace(found, gone=sorted({*ids} - {*found.run_ids.tolist()}))


def _told(db: ResultsDatabase, which: str, given: Sequence[object] = ()) -> Iterator[Told]:
    """``run_id`` and ``COLUMNS`` of runs, ascending, some at a time."""
    rows = db.rows(
        f"SELECT crumple_row({', '.join(_READ)}) FROM runs "
        f"LEFT JOIN annotations ON run_id = runs.id WHERE {which} ORDER BY runs.id",
        tuple(given),
    )
    while some := list(itertools.islice(rows, _AT_A_TIME)):
        read = dict(zip(_READ, zip(*some, strict=True), strict=True))
        told: Told = {name: read[sql] for name, (_, sql) in COLUMNS.items()}
        whole = list(map(is_whole, some))
        if not all(whole):
            told = {name: _unread(name, values, whole) for name, values in told.items()}
        yield {"run_id": read["runs.id"], **told}


_AT_A_TIME = 128
"""Runs: so few are still in the cache of a processor when they are taken by columns."""


def _unread(name: str, values: Sequence[Any], whole: Sequence[bool]) -> list[Any]:
    """Of runs that are not what was written the numbers are nobody's, and the flags say so."""
    kind, _ = COLUMNS[name]
    readable = {"real": type(None), "integer": int | None}.get(kind, str | None)

    def left(value: Any) -> Any:
        if name == "flags":
            return "damaged"
        return value if isinstance(value, readable) else IN_PLACE.get(name)

    return [value if fits else left(value) for value, fits in zip(values, whole, strict=True)]


def _studies(db: ResultsDatabase, run_ids: str | None) -> list[StudyMembers]:
    """All studies, or those of these runs (as a JSON list)."""
    which = "" if run_ids is None else _OF_RUNS
    given = () if run_ids is None else (run_ids,)
    heads = {
        id_: (id_, name, created)
        for id_, name, created in db.tuples("SELECT id, name, created FROM studies")
    }
    members = db.tuples(
        f"SELECT study_id, run_id FROM study_runs {which} ORDER BY study_id, position", given
    )
    return [
        StudyMembers(*heads[study_id], np.array([run_id for _, run_id in some], np.int64))
        for study_id, some in itertools.groupby(members, operator.itemgetter(0))
        if study_id in heads
    ]


def as_changes(
    told: Iterable[Told], version: int | None, studies: Sequence[StudyMembers] = ()
) -> RunChanges:
    """Runs, some at a time: ``run_id``, ascending, and ``COLUMNS``."""
    ids = _Numbers(np.int64)
    parts = {name: _PARTS[kind]() for name, (kind, _) in COLUMNS.items()}
    for some in told:
        ids.add(some["run_id"])
        for name, part in parts.items():
            part.add(some[name])
    columns = {name: part.made() for name, part in parts.items()}
    _forget_shares(columns)
    return RunChanges(version, ids.made(), columns, studies=studies)


class _Numbers:
    """A column of numbers, as it grows."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._dtype = dtype
        self._parts = [np.array([], dtype)]

    def add(self, values: Sequence[Any]) -> None:
        self._parts.append(np.array(values, self._dtype))

    def made(self) -> npt.NDArray[Any]:
        return np.concatenate(self._parts)


class _Integers(_Numbers):
    def __init__(self) -> None:
        super().__init__(np.int64)

    def add(self, values: Sequence[int | None]) -> None:
        if None in values:
            values = [MISSING if value is None else value for value in values]
        super().add(values)


class _Times(_Numbers):
    def __init__(self) -> None:
        super().__init__("S")

    def add(self, values: Sequence[str | None]) -> None:
        super().add([(value or "").encode() for value in values])


class _Texts(dict[str | None, int]):
    """A column of texts, as it grows; each has the number of the first that is equal to it."""

    def __init__(self) -> None:
        super().__init__()
        self._codes = [np.array([], np.int32)]

    def __missing__(self, text: str | None) -> int:
        number = self[text] = len(self)
        return number

    def add(self, values: Sequence[str | None]) -> None:
        codes = np.fromiter(map(self.__getitem__, values), np.int32, len(values))
        self._codes.append(codes)

    def made(self) -> Coded:
        return Coded(np.concatenate(self._codes), list(self))


_PARTS: Mapping[Kind, Callable[[], _Numbers | _Texts]] = {
    "integer": _Integers,
    "real": partial(_Numbers, np.float64),
    "time": _Times,
    "text": _Texts,
    "json": _Texts,
}


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
