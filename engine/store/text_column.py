"""A column of texts with few distinct values: each run has the number of one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from engine.errors import StoreError
from engine.flags import FlagRow
from engine.specs.choices import StepWords
from engine.store.result_rows import read_json
from engine.store.run_changes import Coded

Places = npt.NDArray[np.int64]
"""Where runs stand in the table."""


class TextColumn:
    """The values of all runs, as numbers of the distinct ones.

    Args:
        decode: what a value is, once read.

    Attributes:
        codes: (n,) the number of the value of each run.
    """

    def __init__(self, decode: Callable[[str | None], Any]) -> None:
        self.codes = np.zeros(0, np.int32)
        self._decode = decode
        self._numbers: dict[str | None, int] = {None: 0}
        self._values: list[Any] = [decode(None)]
        self._in_use: list[int] | None = None

    def grow(self, more: int) -> None:
        """Add runs that have no text yet."""
        fresh = np.zeros(more, np.int32)
        self.codes = np.concatenate([self.codes, fresh]) if len(self.codes) else fresh
        self._in_use = None

    def write(self, places: Places, part: Coded) -> None:
        """Give the runs at these places their texts."""
        new = np.array([self._number(value) for value in part.values], np.int32)
        written = new[part.codes] if len(part.codes) else np.zeros(len(places), np.int32)
        if not np.array_equal(self.codes[places], written):
            self.codes[places] = written
            self._in_use = None

    def write_one(self, places: Places, value: str) -> None:
        """Give the runs at these places one text."""
        self.codes[places] = self._number(value)
        self._in_use = None

    def _number(self, value: str | None) -> int:
        if value not in self._numbers:
            self._numbers[value] = len(self._values)
            self._values.append(self._decode(value))
        return self._numbers[value]

    def take(self, places: Places) -> Callable[[], list[Any]]:
        """What gives the values at these places, on any thread, as they are now."""
        codes, values = self.codes[places], self._values  # which only ever grows
        return lambda: [values[code] for code in codes.tolist()]

    def first(self, places: Places) -> Places:
        """Of these places one for each distinct value."""
        found = np.full(len(self._values), -1, np.int64)
        found[self.codes[places][::-1]] = places[::-1]  # the first one is written last
        return found[found >= 0]

    def alike(self, places: Places) -> npt.NDArray[np.bool_]:
        """(n,) which runs have the value of one of these places."""
        wanted = np.zeros(len(self._values), np.bool_)
        wanted[self.codes[places]] = True
        return cast(npt.NDArray[np.bool_], wanted[self.codes])

    def count(self) -> int:
        """How many distinct values there ever were."""
        return len(self._values)

    def counts(self, among: npt.NDArray[np.bool_]) -> dict[str | None, int]:
        """How many of these runs have each value."""
        numbers = np.bincount(self.codes[among]).tolist()
        return {self._values[code]: number for code, number in enumerate(numbers) if number}

    def ranks(self, key: Callable[[Any], Any]) -> npt.NDArray[np.float64]:
        """(n,) where each value stands in the order of ``key``; NaN where that is None."""
        keys = {code: key(self._values[code]) for code in self._used()}
        known = {key for key in keys.values() if key is not None}
        order = {key: float(rank) for rank, key in enumerate(sorted(known))}
        ranks = np.full(len(self._values), np.nan)
        for code, key_ in keys.items():
            ranks[code] = np.nan if key_ is None else order[key_]
        return ranks[self.codes]

    def where(self, test: Callable[[Any], bool]) -> npt.NDArray[np.bool_]:
        """(n,) for which values a test holds."""
        holds = np.zeros(len(self._values), np.bool_)
        for code in self._used():
            holds[code] = test(self._values[code])
        return cast(npt.NDArray[np.bool_], holds[self.codes])

    def _used(self) -> list[int]:
        """The numbers of the values that some run has now."""
        if self._in_use is None:
            self._in_use = np.flatnonzero(np.bincount(self.codes)).tolist()
        return self._in_use


DAMAGED: FlagRow = {
    "id": "damaged",
    "level": "danger",
    "text": "What is stored of this run is damaged in part; crumple check names it.",
}
"""Of a run of which a text cannot be read: one damaged cell hides no other run."""


def _flags(text: str | None) -> list[FlagRow]:
    """A run's own flags, and those that its rivals give it."""
    own, _, rivals = (text or "[]").partition("\n")
    flags: list[FlagRow] = []
    for part in (own, rivals or "[]"):
        try:
            flags += read_json(part, 0, "flags")
        except StoreError:
            flags = [DAMAGED, *flags]
    return flags


def _steps(text: str | None) -> list[StepWords] | None:
    try:
        return cast(list[StepWords], read_json(text, 0, "recipe")) if text else None
    except StoreError:
        return None  # as in a database from before there were words of steps


def _as_it_is(text: str | None) -> str | None:
    return text


_DECODERS: Mapping[str, Callable[[str | None], Any]] = {"flags": _flags, "recipe": _steps}


def decoder_of(name: str) -> Callable[[str | None], Any]:
    """What a stored text of a column of runs means."""
    return _DECODERS.get(name, _as_it_is)
