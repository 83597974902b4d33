"""All runs in memory, column by column: one copy for all lists, filters and charts of many."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from engine.flags import FlagRow
from engine.specs.study import StepWords
from engine.store.columns import MORE_COLUMNS, RESULT_COLUMNS, TableRow
from engine.store.run_changes import COLUMNS, MISSING, Coded, Part, RunChanges, StudyMembers

Places = npt.NDArray[np.int64]
"""Where runs stand in the table."""

_MOST_ROWS = 4_000
"""Rows kept as they were given out: some screens full."""


class RunTable:
    """Every run of a database; brought up to date by ``read_changes``.

    A run is found at its place, which stays: runs are only ever added behind the others.

    Attributes:
        version: the number of the last change that it has; None before everything was read.
        ids: (n,) the run ids, ascending.
    """

    def __init__(self) -> None:
        self.version: int | None = None
        self.ids: npt.NDArray[np.int64] = np.array([], np.int64)
        self._numbers: dict[str, npt.NDArray[Any]] = {}
        self._texts: dict[str, _Texts] = {"study": _Texts()}
        self._studies: dict[int, StudyMembers] = {}
        self._rows: dict[int, TableRow] = {}

    def __len__(self) -> int:
        """How many runs are not deleted."""
        return int(np.count_nonzero(self.shown()))

    # -- reading ---------------------------------------------------------------------------

    def places(self, run_ids: Iterable[int]) -> Places:
        """Where these runs stand, in their order; those that are not there are left out."""
        wanted = np.fromiter(run_ids, np.int64)
        places = np.searchsorted(self.ids, wanted)
        known = places < len(self.ids)
        known[known] = self.ids[places[known]] == wanted[known]
        return places[known]

    def row(self, place: int) -> TableRow:
        """Everything of the run at a place; kept, since a view asks again and again."""
        if place not in self._rows:
            if len(self._rows) >= _MOST_ROWS:
                self._rows.clear()
            (self._rows[place],) = self.rows([place])
        return self._rows[place]

    def rows(self, places: Iterable[int]) -> list[TableRow]:
        """The runs at these places."""
        at = np.fromiter(places, np.int64)
        columns = {"run_id": self.ids[at].tolist()}
        columns |= {name: _values(stored[at]) for name, stored in self._numbers.items()}
        columns |= {name: texts.values(at) for name, texts in self._texts.items()}
        names = tuple(name for name in _ORDER if name in columns)
        values = zip(*(columns[name] for name in names), strict=True)
        return [cast(TableRow, dict(zip(names, row, strict=True))) for row in values]

    def run(self, run_id: int) -> TableRow | None:
        """A run by its id; None where there is none or it is deleted."""
        places = self.places([run_id])
        row = self.row(int(places[0])) if len(places) else None
        return None if row is None or row["deleted"] else row

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """A column of numbers, NaN where there is none."""
        if column == "run_id":
            return self.ids.astype(np.float64)
        stored = self._numbers[column]
        if stored.dtype == np.int64:
            return np.where(stored == MISSING, np.nan, stored.astype(np.float64))
        return cast(npt.NDArray[np.float64], stored)

    def times(self, column: str) -> npt.NDArray[np.bytes_]:
        """A column of times, as ISO 8601 in UTC; empty where there is none."""
        return cast(npt.NDArray[np.bytes_], self._numbers[column])

    def ranks(
        self, column: str, key: Callable[[Any], Any] = lambda value: value
    ) -> npt.NDArray[np.float64]:
        """Where the text of each run stands in the order of ``key``; NaN where that is None."""
        return self._texts[column].ranks(key)

    def where(self, column: str, test: Callable[[Any], bool]) -> npt.NDArray[np.bool_]:
        """For which runs a test of a column of texts holds; asked once for each distinct one.

        Flags and recipes are given decoded, as in ``row``.
        """
        return self._texts[column].where(test)

    def distinct(self, column: str, places: Places) -> Places:
        """Of these places one for each distinct text of a column."""
        return self._texts[column].first(places)

    def shown(self) -> npt.NDArray[np.bool_]:
        """(n,) which runs are not deleted."""
        if not self._numbers:
            return np.zeros(0, np.bool_)
        return cast(npt.NDArray[np.bool_], self._numbers["deleted"] == 0)

    # -- studies ---------------------------------------------------------------------------

    def studies(self) -> list[StudyMembers]:
        """All studies, those first that were started last."""
        return sorted(
            self._studies.values(), key=lambda study: (study.created, study.id), reverse=True
        )

    def members(self, study: str) -> Places:
        """Where the runs of the newest study of a name stand, in its order, none deleted."""
        newest = next((one for one in self.studies() if one.name == study), None)
        if newest is None:
            return np.array([], np.int64)
        places = self.places(newest.run_ids)
        return places[self.shown()[places]]

    # -- bringing it up to date ------------------------------------------------------------

    def apply(self, changes: RunChanges) -> None:
        """Take over what changed."""
        places = self._make_room(changes.run_ids)
        for name, part in changes.columns.items():
            self._write(name, places, part)
        self._rows.clear()
        self._numbers["deleted"][self.places(changes.gone)] = 1
        self._take_studies(changes.studies, len(places) > 0)
        if changes.version is not None:
            self.version = changes.version

    def _make_room(self, run_ids: npt.NDArray[np.int64]) -> Places:
        """Give new runs a place behind the others; where these runs stand now."""
        fresh = run_ids[~np.isin(run_ids, self.ids)]
        if len(fresh):
            self.ids = np.concatenate([self.ids, fresh])
            if len(fresh) < len(self.ids) and fresh[0] < self.ids[-len(fresh) - 1]:
                raise ValueError("Runs are numbered upwards.")
            for texts in self._texts.values():
                texts.grow(len(fresh))
            for name, stored in self._numbers.items():
                more = np.zeros(len(fresh), stored.dtype)
                self._numbers[name] = np.concatenate([stored, more])
        return np.searchsorted(self.ids, run_ids)

    def _write(self, name: str, places: Places, part: Part) -> None:
        if isinstance(part, Coded):
            decode = _flags if name == "flags" else _steps if name == "recipe" else None
            texts = self._texts.setdefault(name, _Texts(len(self.ids), decode))
            texts.write(places, part)
            return
        if name not in self._numbers:
            self._numbers[name] = np.zeros(len(self.ids), part.dtype)
        stored = self._numbers[name]
        if stored.dtype.itemsize < part.dtype.itemsize:  # a longer text
            stored = self._numbers[name] = stored.astype(part.dtype)
        stored[places] = part

    def _take_studies(self, studies: Sequence[StudyMembers], runs_changed: bool) -> None:
        """Keep the members, and name for each run the study that was started last."""
        known = self._studies
        fresh = [
            study
            for study in studies
            if study.id not in known
            or known[study.id].created != study.created
            or not np.array_equal(known[study.id].run_ids, study.run_ids)
        ]
        known.update({study.id: study for study in fresh})
        if not fresh and not (runs_changed and self.version is None):
            return
        names = self._texts["study"]
        for study in reversed(self.studies()):
            names.write_one(self.places(study.run_ids), study.name)
        self._rows.clear()


class _Texts:
    """A column with few distinct values, as numbers of them.

    Args:
        size: how many runs there are.
        decode: what a value is, once read.
    """

    def __init__(self, size: int = 0, decode: Callable[[str | None], Any] | None = None) -> None:
        self._codes = np.zeros(size, np.int32)
        self._decode = decode
        self._numbers: dict[str | None, int] = {None: 0}
        self._values: list[Any] = [decode(None) if decode else None]

    def grow(self, more: int) -> None:
        self._codes = np.concatenate([self._codes, np.zeros(more, np.int32)])

    def write(self, places: Places, part: Coded) -> None:
        new = np.array([self._number(value) for value in part.values], np.int32)
        self._codes[places] = new[part.codes] if len(part.codes) else 0

    def write_one(self, places: Places, value: str) -> None:
        self._codes[places] = self._number(value)

    def _number(self, value: str | None) -> int:
        if value not in self._numbers:
            self._numbers[value] = len(self._values)
            self._values.append(self._decode(value) if self._decode else value)
        return self._numbers[value]

    def values(self, places: Places) -> list[Any]:
        return [self._values[code] for code in self._codes[places].tolist()]

    def first(self, places: Places) -> Places:
        """Of these places one for each distinct value."""
        return places[np.unique(self._codes[places], return_index=True)[1]]

    def where(self, test: Callable[[Any], bool]) -> npt.NDArray[np.bool_]:
        holds = np.zeros(len(self._values), np.bool_)
        for code in self._used():
            holds[code] = test(self._values[code])
        return holds[self._codes]

    def ranks(self, key: Callable[[Any], Any]) -> npt.NDArray[np.float64]:
        keys = {code: key(self._values[code]) for code in self._used()}
        known = {key for key in keys.values() if key is not None}
        order = {key: float(rank) for rank, key in enumerate(sorted(known))}
        ranks = np.full(len(self._values), np.nan)
        for code, key_ in keys.items():
            ranks[code] = np.nan if key_ is None else order[key_]
        return ranks[self._codes]

    def _used(self) -> list[int]:
        """The numbers of the values that some run has now."""
        return np.flatnonzero(np.bincount(self._codes)).tolist()


_ORDER = tuple(dict.fromkeys((*RESULT_COLUMNS, *MORE_COLUMNS, *COLUMNS)))


def _values(stored: npt.NDArray[Any]) -> list[Any]:
    """Numbers or times as rows have them: None where there is none."""
    if stored.dtype.kind == "S":
        return [value.decode() or None for value in stored.tolist()]
    if stored.dtype == np.int64:
        return [None if value == MISSING else value for value in stored.tolist()]
    return [None if value != value else value for value in stored.tolist()]  # only NaN differs


def _flags(text: str | None) -> list[FlagRow]:
    """A run's own flags, and those that its rivals give it."""
    return [flag for line in (text or "[]").splitlines() for flag in json.loads(line)]


def _steps(text: str | None) -> list[StepWords] | None:
    return cast(list[StepWords] | None, json.loads(text)) if text else None
