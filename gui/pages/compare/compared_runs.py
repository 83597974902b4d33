"""The runs that may be compared, as charts need them; read beside the window, no widgets."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from engine.report.identity import attack_key, context_key
from engine.report.naming import BASE, titled
from engine.store import ResultRow, Store
from engine.store.run_table import RunTable
from engine.store.text_column import Places

References = Mapping[int, ResultRow]
"""By run id the uncompressed run that it is compared with."""


@dataclass(frozen=True)
class Selection:
    """Which runs: those of a study (None for all), or only some by id."""

    study: str | None = None
    only: tuple[int, ...] = ()

    def places(self, table: RunTable) -> Places:
        """Where its finished runs stand, in the order of the study."""
        places = np.flatnonzero(table.shown()) if self.study is None else table.members(self.study)
        places = places[_finished(table)[places]]
        return places[np.isin(table.ids[places], self.only)] if self.only else places

    def bases(self, table: RunTable, places: Places) -> Places:
        """Where uncompressed runs stand that these may be compared with."""
        every = Selection(self.study).places(table)
        alike = table.where(("compression",), lambda row: row["compression"] == BASE)[every]
        for name in ("model", "attack"):
            alike &= table.alike(name, places)[every]
        return every[alike]


def _finished(table: RunTable) -> npt.NDArray[np.bool_]:
    return table.where(("status",), lambda row: row["status"] == "finished")


@dataclass(frozen=True)
class ComparedRuns:
    """What was read of a selection.

    Attributes:
        rows: of its finished runs, with their specs and the titles of their models.
        references: what each is compared with.
        known: all that was read: the rows, and more that they are compared with.
    """

    selection: Selection
    rows: Sequence[ResultRow]
    references: References
    known: Sequence[ResultRow]


def reader(
    table: RunTable,
    selection: Selection,
    places: Places,
    words: Mapping[str, str],
    before: ComparedRuns | None = None,
) -> Callable[[Store], ComparedRuns]:
    """What reads runs of a selection, on the thread that a store is given to.

    Args:
        table: all runs; read here and now.
        selection: which of them.
        places: where those of it stand that are wanted.
        words: the titles of models by id.
        before: what was read last, given back itself where nothing is different.
    """
    bases = selection.bases(table, places)
    more = bases[~np.isin(bases, places)]
    take, take_more = table.take(places), table.take(more)

    def read(store: Store) -> ComparedRuns:
        told = titled(_of_study([*take(), *take_more()], selection.study), words)
        known = {row["run_id"]: row for row in before.known} if before is not None else {}
        rows = _with_specs(store, told, known)
        mine = rows[: len(places)]
        if before is not None and _same(mine, before.rows) and _same(rows, before.known):
            return before
        return ComparedRuns(selection, mine, references(rows, mine), rows)

    return read


def _with_specs(
    store: Store, rows: Sequence[ResultRow], known: Mapping[int, ResultRow]
) -> list[ResultRow]:
    """The rows with their specs, which never change; a row that is as before is that one."""
    fresh = store.with_specs(row for row in rows if row["run_id"] not in known)
    specs = {row["run_id"]: row["spec"] for row in (*known.values(), *fresh)}
    told = [cast(ResultRow, {**row, "spec": specs[row["run_id"]]}) for row in rows]
    return [old if (old := known.get(row["run_id"])) == row else row for row in told]


def _same(rows: Sequence[ResultRow], before: Sequence[ResultRow]) -> bool:
    return len(rows) == len(before) and all(map(operator.is_, rows, before))


def _of_study(rows: Sequence[ResultRow], study: str | None) -> Sequence[ResultRow]:
    """A run that studies share bears the name of the one that is looked at."""
    return rows if study is None else [cast(ResultRow, {**row, "study": study}) for row in rows]


def references(known: Iterable[ResultRow], rows: Iterable[ResultRow]) -> dict[int, ResultRow]:
    """The uncompressed run to compare each run with; none is left out of those that have one."""
    base_of = {_pairing(row): row for row in known if row["compression"] == BASE}
    found: dict[int, ResultRow] = {}
    for row in rows if base_of else ():
        base = None if row["compression"] == BASE else base_of.get(_pairing(row))
        if base is not None:
            found[row["run_id"]] = base
    return found


def _pairing(row: ResultRow) -> tuple[str, str, str]:
    images = context_key(cast(ResultRow, {**row, "study": None}))  # studies may share a run
    return images, row["model"], attack_key(row)
