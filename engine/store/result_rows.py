"""Rows of results, read one after the other as lists: only the columns that are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from engine.errors import StoreError
from engine.flags import Flag
from engine.specs.study import StepWords
from engine.store.columns import MORE_COLUMNS, RESULT_COLUMNS, ResultRow
from engine.store.database import ResultsDatabase
from engine.store.distances import without_limit
from engine.store.seals import fits

VALUES = (*RESULT_COLUMNS, *MORE_COLUMNS, "recipe")
"""What ``result_values`` gives, in this order."""

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

_JUDGED = ("robust_accuracy", "ci_low", "ci_high", "worst_case")
DAMAGED = Flag(
    "damaged",
    "danger",
    "What is stored of this run is not what was written: the database is damaged.",
).to_dict()
_IN_PLACE: dict[str, Any] = {
    **dict.fromkeys(VALUES),
    **dict.fromkeys(("dataset", "model", "compression", "attack", "norm"), "?"),
    **dict.fromkeys(("created", "attack_id"), ""),
    "flags": [DAMAGED],
    "status": "failed",
    "seed": 0,
}
"""What is given of a run whose row does not fit its seal, beside what is not in it."""

for _kept in ("run_id", "study", "tags", "note"):
    del _IN_PLACE[_kept]

_AT = {name: place for place, name in enumerate(VALUES)}


def result_values(
    db: ResultsDatabase, *, study_id: int | None = None, run_id: int | None = None
) -> Iterator[list[Any]]:
    """The ``VALUES`` of each run that is not deleted, in order; read as they are asked for.

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
        sql = f"SELECT {_columns(db, _NEWEST)} FROM runs {notes} WHERE runs.id = ?"
    elif study_id is not None:
        given = (study_id,)
        sql = (
            f"SELECT {_columns(db, 'studies.name')} FROM study_runs "
            "JOIN studies ON studies.id = study_id "
            f"JOIN runs ON runs.id = study_runs.run_id {notes} "
            "WHERE study_id = ? AND coalesce(deleted, 0) = 0 ORDER BY study_runs.position"
        )
    else:
        sql = (
            f"{_ALL_NEWEST} SELECT {_columns(db, 'newest.name')} FROM runs {notes} "
            "LEFT JOIN newest ON newest.run_id = runs.id "
            "WHERE coalesce(deleted, 0) = 0 ORDER BY runs.id"
        )
    for *values, verdict, spec, whole in db.tuples(sql, given):
        if whole:
            _complete(values, verdict, spec, decoded)
        else:
            values = [
                _IN_PLACE.get(name, value) for name, value in zip(VALUES, values, strict=True)
            ]
        yield values


def _columns(db: ResultsDatabase, study: str) -> str:
    """SQL for ``VALUES``, the verdict, and the spec if it is needed.

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
    told = [
        f"runs.{name}" if name in known else elsewhere.get(name, "NULL")
        for name in (*VALUES, "verdict")
    ]
    spec = "NULL" if "attack_id" in known else "runs.spec"
    return ", ".join((*told, spec, fits("runs", known)))


class _Decoded:
    """JSON of cells, each content read once."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def __call__(self, text: str | None, run_id: int, column: str) -> Any:
        if text is None:
            return None
        if text not in self._known:
            if len(self._known) > _MOST:
                self._known.clear()
            self._known[text] = read_json(text, run_id, column)
        return self._known[text]


_MOST = 1000
"""Contents that are kept at most: most verdicts are those of one run."""


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


def _complete(
    values: list[Any], verdict_text: str | None, spec: str | None, decoded: _Decoded
) -> None:
    """Read the JSON of a row; its own flags come before those of its rivals."""
    run_id, n = values[0], values[_AT["n"]]
    verdict = decoded(verdict_text or "{}", run_id, "verdict")
    own = decoded(values[_AT["flags"]], run_id, "flags")
    values[_AT["flags"]] = [*own, *verdict.get("flags", ())]
    values[_AT["recipe"]] = decoded(values[_AT["recipe"]], run_id, "recipe")
    survivors = verdict.get("survivors")
    values[_AT["worst_case"]] = survivors / n if n and survivors is not None else None
    if values[_AT["eps"]] is None:
        attack = {name: values[_AT[name]] for name in ("eps", "norm", "attack_id")}
        if without_limit({**attack, "spec": spec}):
            for name in _JUDGED:
                values[_AT[name]] = None


def result_row(values: Sequence[Any]) -> ResultRow:
    """``VALUES`` by their names; lists in it are its own."""
    row = dict(zip(VALUES, values, strict=True))
    row["recipe"] = row["recipe"] and [dict(step) for step in row["recipe"]]
    return cast(ResultRow, row)
