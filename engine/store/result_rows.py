"""Rows of results, read one after the other as lists: only the columns that are shown."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from engine.errors import StoreError
from engine.flags import Flag
from engine.specs.choices import StepWords
from engine.store.columns import MORE_COLUMNS, RESULT_COLUMNS, ResultRow
from engine.store.database import ResultsDatabase
from engine.store.distances import without_limit
from engine.store.seals import READ, is_whole

VALUES = (*RESULT_COLUMNS, *MORE_COLUMNS, "recipe")
"""What ``result_columns`` gives, in this order."""

_ALL_NEWEST = """
    WITH ranked AS MATERIALIZED (
        SELECT id, name, row_number() OVER (ORDER BY created, id) AS rank FROM studies
    ), newest AS MATERIALIZED (
        SELECT run_id, name, max(rank) FROM study_runs JOIN ranked ON ranked.id = study_id
        GROUP BY run_id
    )
"""
"""The newest study of each run; SQLite takes the name from the row with the largest rank."""

_NEWEST = """
    (SELECT studies.name FROM study_runs JOIN studies ON studies.id = study_id
     WHERE study_runs.run_id = runs.id ORDER BY studies.created DESC, studies.id DESC LIMIT 1)
"""

NAIVE = '"held"'
"""A key that the checks of a run have where a naive attack was made, and nowhere else."""

_JUDGED = ("robust_accuracy", "ci_low", "ci_high", "robust_of_correct", "worst_case")
DAMAGED = Flag(
    "damaged",
    "danger",
    "What is stored of this run is not what was written: the database is damaged.",
).to_dict()
IN_PLACE: dict[str, Any] = {
    **dict.fromkeys(VALUES),
    **dict.fromkeys(("dataset", "model", "compression", "attack", "norm"), "?"),
    **dict.fromkeys(("created", "attack_id"), ""),
    "flags": [DAMAGED],
    "status": "failed",
    "seed": 0,
}
"""What is given of a run whose row does not fit its seal, beside what is not in it."""

for _kept in ("run_id", "study", "tags", "note"):
    del IN_PLACE[_kept]

_READ = (*READ, *(name for name in VALUES if name not in READ))
"""What is read of a run: first what its seal is looked at by, so that all comes once."""


Told = dict[str, Sequence[Any]]
"""Columns of some runs by the names of ``VALUES``, in that order."""


def result_columns(
    db: ResultsDatabase, *, study_id: int | None = None, run_id: int | None = None
) -> Iterator[Told]:
    """The ``VALUES`` of runs that are not deleted, in order, some at a time as they are asked for.

    Args:
        study_id: only the runs of this study, in its order.
        run_id: only this one, also if it is deleted.

    Raises:
        StoreError: a cell is damaged; the message names it.
    """
    decoded = _Decoded()
    notes = "LEFT JOIN annotations ON annotations.run_id = runs.id"
    given: tuple[int, ...] = ()
    if run_id is not None:
        given = (run_id,)
        sql = f"SELECT {_row(db, _NEWEST)} FROM runs {notes} WHERE runs.id = ?"
    elif study_id is not None:
        given = (study_id,)
        sql = (
            f"SELECT {_row(db, 'studies.name')} FROM study_runs "
            "JOIN studies ON studies.id = study_id "
            f"JOIN runs ON runs.id = study_runs.run_id {notes} "
            "WHERE study_id = ? AND coalesce(deleted, 0) = 0 ORDER BY study_runs.position"
        )
    else:
        sql = (
            f"{_ALL_NEWEST} SELECT {_row(db, 'newest.name')} FROM runs {notes} "
            "LEFT JOIN newest ON newest.run_id = runs.id "
            "WHERE coalesce(deleted, 0) = 0 ORDER BY runs.id"
        )
    rows = db.rows(sql, given)
    while some := list(itertools.islice(rows, _AT_A_TIME)):
        for whole, same in itertools.groupby(some, is_whole):
            read: Told = dict(zip(_READ, zip(*same, strict=True), strict=True))
            yield _complete(read, decoded) if whole else _in_place(read)


_AT_A_TIME = 128
"""Runs: loops over their columns are long, and all of them stay in the cache of a processor."""


def _in_place(read: Told) -> Told:
    size = len(read["run_id"])
    return {name: [IN_PLACE[name]] * size if name in IN_PLACE else read[name] for name in VALUES}


def _row(db: ResultsDatabase, study: str) -> str:
    """SQL for ``_READ``.

    A database of an earlier version, which is only read, lacks the columns that came later.
    """
    known = db.run_columns
    elsewhere = {
        "run_id": "runs.id",
        "study": study,
        "tags": "coalesce(tags, '')",
        "note": "coalesce(note, '')",
        "seed": "json_extract(runs.spec, '$.seed')",
        "steps": "json_extract(runs.spec, '$.attack.params.steps')",
    }
    columns = [f"runs.{name}" if name in known else elsewhere.get(name, "NULL") for name in _READ]
    return f"crumple_row({', '.join(columns)})"


class _Decoded:
    """JSON of cells, each content of a column read once."""

    def __init__(self) -> None:
        self._known: defaultdict[str, dict[str, Any]] = defaultdict(dict)

    def __call__(self, read: Told, column: str) -> list[Any]:
        texts, known = read[column], self._known[column]
        if len(known) > _MOST:
            known.clear()
        if texts[0] in known and texts.count(texts[0]) == len(texts):
            return [known[texts[0]]] * len(texts)
        for text in set(texts) - known.keys():
            run_id = read["run_id"][texts.index(text)]
            known[text] = None if text is None else read_json(text, run_id, column)
        return list(map(known.__getitem__, texts))


_MOST = 1000
"""Contents that are kept, about: most verdicts are those of one run."""


def read_json(text: str | bytes, run_id: int, column: str) -> Any:
    """What a cell of ``runs`` holds.

    Raises:
        StoreError: it is damaged; the message names it.
    """
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        value = None
    if not _FORMS.get(column, _is_object)(value):
        raise StoreError(
            f"The column {column} of run {run_id} is damaged.",
            "Restore the database from a copy, or look it over with: crumple check.",
        )
    return value


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _are_flags(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(flag, dict)
        and all(isinstance(flag.get(name), str) for name in ("id", "level", "text"))
        for flag in value
    )


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(step, dict) and all(isinstance(step.get(name), str) for name in _WORDS)
        for step in value
    )


def _is_verdict(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _are_flags(value.get("flags", []))
        and isinstance(value.get("survivors"), int | None)
    )


_WORDS = tuple(StepWords.__annotations__)
_FORMS: dict[str, Callable[[Any], bool]] = {
    "flags": _are_flags,
    "recipe": _are_words,
    "verdict": _is_verdict,
}
"""What the JSON of a column has to be; of the others an object."""


def _complete(read: Told, decoded: _Decoded) -> Told:
    """Read the JSON of some runs; own flags come before those of rivals."""
    told = {name: read[name] for name in VALUES}
    verdicts = [verdict or {} for verdict in decoded(read, "verdict")]
    told["recipe"] = decoded(read, "recipe")
    told["flags"] = [
        [*own, *verdict.get("flags", ())]
        for own, verdict in zip(decoded(read, "flags"), verdicts, strict=True)
    ]
    told["naive_accuracy"] = _naive(read)
    told["robust_of_correct"] = [
        None if robust is None or not clean else min(robust / clean, 1.0)
        for robust, clean in zip(read["robust_accuracy"], read["clean_accuracy"], strict=True)
    ]
    told["worst_case"] = [
        None if not n or (survivors := verdict.get("survivors")) is None else survivors / n
        for n, verdict in zip(read["n"], verdicts, strict=True)
    ]
    if None in read["eps"]:
        _forget_shares(told, read["spec"])
    return told


def _naive(read: Told) -> list[float | None]:
    """What the naive attack left; the checks of most runs have none and are not read."""
    marked = [text is not None and NAIVE in text for text in read["checks"]]
    if not any(marked):
        return [None] * len(marked)
    checks = [
        read_json(text, run_id, "checks") if told else {}
        for told, text, run_id in zip(marked, read["checks"], read["run_id"], strict=True)
    ]
    found = [one.get("naive") or {} for one in checks]
    return [one["held"] / one["n"] if one.get("n") else None for one in found]


def _forget_shares(told: Told, specs: Sequence[str]) -> None:
    """An attack that takes the closest example however far it is has no robust accuracy."""
    unlimited = [
        eps is None and without_limit({"eps": eps, "norm": norm, "attack_id": id_, "spec": spec})
        for eps, norm, id_, spec in zip(
            told["eps"], told["norm"], told["attack_id"], specs, strict=True
        )
    ]
    for name in _JUDGED:
        told[name] = [
            None if none else value for value, none in zip(told[name], unlimited, strict=True)
        ]


def result_rows(told: Told) -> Iterator[ResultRow]:
    """Runs one by one, their values by names; lists in them are their own."""
    for values in zip(*told.values(), strict=True):
        row = dict(zip(VALUES, values, strict=True))
        row["recipe"] = row["recipe"] and [dict(step) for step in row["recipe"]]
        yield cast(ResultRow, row)
