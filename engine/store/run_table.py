"""All runs in memory, column by column: one copy for all lists, filters and charts of many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from engine.store.columns import MORE_COLUMNS, RESULT_COLUMNS, TableRow
from engine.store.run_changes import COLUMNS, MISSING, Coded, Kind, Part, RunChanges, StudyMembers
from engine.store.text_column import Places, TextColumn, decoder_of

_MOST_CODES = 1_000_000
"""Combinations that are numbered without looking which of them there are."""

_MOST_ROWS = 4_000
"""Rows kept as they were given out: some screens full."""


class RunTable:
    """Every run of a database; brought up to date by ``read_changes``.

    A run is found at its place, which stays: runs are only ever added behind the others.

    Attributes:
        version: the number of the last change that it has; None before everything was read.
        ids: (n,) the run ids, ascending.
        stamps: (n,) what ``stamp`` was when something of a run changed last.
        stamp: goes up with everything that is taken over.
    """

    def __init__(self) -> None:
        self.version: int | None = None
        self.ids: npt.NDArray[np.int64] = np.array([], np.int64)
        self.stamps: npt.NDArray[np.int64] = np.array([], np.int64)
        self.stamp = 0
        kinds = {name: kind for name, (kind, _) in COLUMNS.items()}
        self._numbers: dict[str, npt.NDArray[Any]] = {
            name: np.array([], _DTYPES[kind]) for name, kind in kinds.items() if kind in _DTYPES
        }
        names = ("study", *(name for name, kind in kinds.items() if kind not in _DTYPES))
        self._texts = {name: TextColumn(decoder_of(name)) for name in names}
        self._ranks: dict[str, npt.NDArray[np.float64]] = {}
        self._studies: dict[int, StudyMembers] = {}
        self._rows: dict[int, TableRow] = {}

    def __len__(self) -> int:
        """How many runs are not deleted."""
        return int(np.count_nonzero(self.shown()))

    # -- reading ---------------------------------------------------------------------------

    def places(self, run_ids: Iterable[int]) -> Places:
        """Where these runs stand, in their order; those that are not there are left out."""
        given = isinstance(run_ids, np.ndarray)
        wanted = np.asarray(run_ids) if given else np.fromiter(run_ids, np.int64)
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
        return self.take(places)()

    def take(self, places: Iterable[int]) -> Callable[[], list[TableRow]]:
        """The runs at these places as they are now; another thread may make the rows."""
        at = np.fromiter(places, np.int64)
        return partial(_rows, [self._column(name, at) for name in _ORDER] if len(at) else [])

    def run(self, run_id: int) -> TableRow | None:
        """A run by its id; None where there is none or it is deleted."""
        places = self.places([run_id])
        row = self.row(int(places[0])) if len(places) else None
        return None if row is None or row["deleted"] else row

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """(n,) a column of numbers, NaN where there is none."""
        if column == "run_id":
            return self.ids.astype(np.float64)
        stored = self._numbers[column]
        if stored.dtype == np.int64:
            return np.where(stored == MISSING, np.nan, stored.astype(np.float64))
        return cast(npt.NDArray[np.float64], stored)

    def moments(self, column: str) -> npt.NDArray[np.float64]:
        """(n,) where the time of each run stands in their order; NaN where there is none."""
        if column in self._ranks:
            return self._ranks[column]
        times = self._numbers[column]
        order = np.argsort(times, kind="stable")  # quick, since runs end nearly in their order
        later = np.concatenate([[False], times[order][1:] != times[order][:-1]])[: len(times)]
        ranks = np.empty(len(times))
        ranks[order] = np.cumsum(later)
        self._ranks[column] = np.where(times == b"", np.nan, ranks)
        return self._ranks[column]

    def ranks(self, column: str, key: Callable[[Any], Any]) -> npt.NDArray[np.float64]:
        """(n,) where the text of each run stands in the order of ``key``; NaN where it is None."""
        return self._texts[column].ranks(key)

    def where(
        self, columns: Sequence[str], test: Callable[[Mapping[str, Any]], bool]
    ) -> npt.NDArray[np.bool_]:
        """(n,) for which runs a test holds; asked once for each distinct combination.

        Args:
            columns: of texts or integers, with few distinct values.
            test: is given these columns of a row, as ``row`` has them.
        """
        if len(columns) == 1 and columns[0] in self._texts:
            return self._texts[columns[0]].where(lambda value: test({columns[0]: value}))
        codes, size = self._codes(columns)
        anyone = np.full(size, -1, np.int64)
        anyone[codes] = np.arange(len(codes))
        used = np.flatnonzero(anyone >= 0)
        rows = zip(*(self._column(name, anyone[used])() for name in columns), strict=True)
        holds: npt.NDArray[np.bool_] = np.zeros(size, np.bool_)
        holds[used] = [test(dict(zip(columns, row, strict=True))) for row in rows]
        return cast(npt.NDArray[np.bool_], holds[codes])

    def _codes(self, columns: Sequence[str]) -> tuple[npt.NDArray[Any], int]:
        """(n,) a number below the second value for each combination of the values of columns."""
        codes: npt.NDArray[Any] = np.zeros(len(self.ids), np.int64)
        size = 1
        for name in columns:
            more, count = self._code(name)
            codes, size = codes * count + more, size * count
            if size > _MOST_CODES:
                distinct, codes = np.unique(codes, return_inverse=True)
                size = len(distinct)
        return codes, size

    def _code(self, name: str) -> tuple[npt.NDArray[Any], int]:
        if name in self._texts:
            return self._texts[name].codes, self._texts[name].count()
        values, codes = np.unique(self._numbers[name], return_inverse=True)
        return codes, len(values)

    def _column(self, name: str, places: Places) -> Callable[[], list[Any]]:
        if name == "run_id":
            return self.ids[places].tolist
        if name in self._texts:
            return self._texts[name].take(places)
        return partial(_values, self._numbers[name][places])

    def counts(self, column: str) -> dict[str | None, int]:
        """How many runs, of those that are not deleted, have each of the texts of a column."""
        return self._texts[column].counts(self.shown())

    def distinct(self, column: str, places: Places) -> Places:
        """Of these places one for each distinct text of a column."""
        return self._texts[column].first(places)

    def alike(self, column: str, places: Places) -> npt.NDArray[np.bool_]:
        """(n,) which runs have the text that one of these places has in a column."""
        return self._texts[column].alike(places)

    def latest(self, places: Places, column: str, most: int) -> Places:
        """Of these places those with the latest times, the latest first."""
        order = np.argsort(self._numbers[column][places], kind="stable")[::-1]
        return places[order[:most]]

    def like(self, row: Mapping[str, Any], columns: Iterable[str]) -> npt.NDArray[np.bool_]:
        """(n,) which runs have the same texts in these columns as a row; none deleted."""
        same = self.shown()
        for name in columns if len(same) else ():
            same = same & self.where((name,), lambda other, name=name: other[name] == row[name])  # type: ignore[misc]
        return same

    def shown(self) -> npt.NDArray[np.bool_]:
        """(n,) which runs are not deleted."""
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
        self.stamp += 1
        places = self._make_room(changes.run_ids)
        for name, part in changes.columns.items():
            self._write(name, places, part)
        gone = self.places(changes.gone)
        self._numbers["deleted"][gone] = 1
        self._touch(np.concatenate([places, gone]))
        self._take_studies(changes.studies)
        if changes.version is not None:
            self.version = changes.version

    def _touch(self, places: Places) -> None:
        self.stamps[places] = self.stamp
        if len(places) > len(self._rows):
            self._rows.clear()
        for place in places.tolist() if self._rows else ():
            self._rows.pop(place, None)

    def _make_room(self, run_ids: npt.NDArray[np.int64]) -> Places:
        """Give new runs a place behind the others; where these runs stand now."""
        fresh = run_ids[~np.isin(run_ids, self.ids)]
        if len(fresh):
            self.ids = np.concatenate([self.ids, fresh])
            self.stamps = np.concatenate([self.stamps, np.zeros(len(fresh), np.int64)])
            if len(fresh) < len(self.ids) and fresh[0] < self.ids[-len(fresh) - 1]:
                raise ValueError("Runs are numbered upwards.")
            self._ranks.clear()
            for texts in self._texts.values():
                texts.grow(len(fresh))
            for name, stored in self._numbers.items():
                # Until it is read, a run is not shown. Zeros take memory when they are written.
                more = np.zeros(len(fresh), stored.dtype)
                if name == "deleted":
                    more[:] = 1
                self._numbers[name] = np.concatenate([stored, more]) if len(stored) else more
        return np.searchsorted(self.ids, run_ids)

    def _write(self, name: str, places: Places, part: Part) -> None:
        if isinstance(part, Coded):
            self._texts[name].write(places, part)
            return
        stored = self._numbers[name]
        if np.array_equal(stored[places], part):
            return
        self._ranks.pop(name, None)
        if stored.dtype.itemsize < part.dtype.itemsize:  # a longer text
            stored = self._numbers[name] = stored.astype(part.dtype)
        stored[places] = part

    def _take_studies(self, studies: Sequence[StudyMembers]) -> None:
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
        if not fresh:
            return
        names = self._texts["study"]
        for study in reversed(self.studies()):
            names.write_one(self.places(study.run_ids), study.name)
        self._touch(np.concatenate([self.places(study.run_ids) for study in fresh]))


_ORDER = tuple(dict.fromkeys((*RESULT_COLUMNS, *MORE_COLUMNS, *COLUMNS)))


def _rows(columns: Sequence[Callable[[], list[Any]]]) -> list[TableRow]:
    values = zip(*(column() for column in columns), strict=True)
    return [cast(TableRow, dict(zip(_ORDER, row, strict=True))) for row in values]


def _values(stored: npt.NDArray[Any]) -> list[Any]:
    """Numbers or times as rows have them: None where there is none."""
    if stored.dtype.kind == "S":
        return [value.decode() or None for value in stored.tolist()]
    if stored.dtype == np.int64:
        return [None if value == MISSING else value for value in stored.tolist()]
    return [None if value != value else value for value in stored.tolist()]  # only NaN differs


_DTYPES: Mapping[Kind, npt.DTypeLike] = {"integer": np.int64, "real": np.float64, "time": "S1"}
