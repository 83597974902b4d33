"""The runs that may be compared, as charts need them; read beside the window, no widgets."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt

from engine.report.differences import references
from engine.report.naming import BASE, titled
from engine.store import ResultRow, Store
from engine.store.run_table import RunTable
from engine.store.text_column import Places

References = Mapping[int, ResultRow]
"""By run id the run that it is compared with."""


@dataclass(frozen=True)
class Baseline:
    """A variant that all others are compared with, as rows name it."""

    model: str
    compression: str

    @classmethod
    def of(cls, row: ResultRow) -> Baseline:
        """The variant of a run."""
        return cls(row["model"], row["compression"])

    def has(self, row: ResultRow) -> bool:
        """Whether a run is of this variant."""
        return row["compression"] == self.compression and row["model"] == self.model


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

    def bases(self, table: RunTable, places: Places, baseline: Baseline | None = None) -> Places:
        """Where runs stand that these may be compared with: uncompressed, or of the baseline."""
        every = Selection(self.study).places(table)
        compression = BASE if baseline is None else baseline.compression
        alike = table.where(("compression",), lambda row: row["compression"] == compression)[every]
        alike &= table.alike("attack", places)[every]
        if baseline is None:
            return every[alike & table.alike("model", places)[every]]
        return every[
            alike & table.where(("model",), lambda row: row["model"] == baseline.model)[every]
        ]


def _finished(table: RunTable) -> npt.NDArray[np.bool_]:
    return table.where(("status",), lambda row: row["status"] == "finished")


@dataclass(frozen=True)
class ComparedRuns:
    """What was read of a selection.

    Attributes:
        rows: of its finished runs, with their specs and the titles of their models.
        references: what each is compared with.
        known: all that was read: the rows, and more that they are compared with.
        baseline: what all are compared with; None for the uncompressed model of each.
    """

    selection: Selection
    rows: Sequence[ResultRow]
    references: References
    known: Sequence[ResultRow]
    baseline: Baseline | None = None

    @cached_property
    def variants(self) -> list[Baseline]:
        """What may be chosen as a baseline, in order of first appearance."""
        named = dict.fromkeys((row["model"], row["compression"]) for row in self.rows)
        return [Baseline(*names) for names in named]


def reader(
    table: RunTable,
    selection: Selection,
    places: Places,
    words: Mapping[str, str],
    before: ComparedRuns | None = None,
    baseline: Baseline | None = None,
) -> Callable[[Store], ComparedRuns]:
    """What reads runs of a selection, on the thread that a store is given to.

    Args:
        table: all runs; read here and now.
        selection: which of them.
        places: where those of it stand that are wanted.
        words: the titles of models by id.
        before: what was read last, given back itself where nothing is different.
        baseline: what they are compared with; None for the uncompressed model of each.
    """
    bases = selection.bases(table, places, baseline)
    more = bases[~np.isin(bases, places)]
    take, take_more = table.take(places), table.take(more)

    def read(store: Store) -> ComparedRuns:
        told = titled(_of_study([*take(), *take_more()], selection.study), words)
        known = {row["run_id"]: row for row in before.known} if before is not None else {}
        rows = _with_specs(store, told, known)
        mine = rows[: len(places)]
        if before is not None and _unchanged(before, mine, rows, baseline):
            return before
        beside = references(rows, mine, baseline.has if baseline else None)
        made = ComparedRuns(selection, mine, beside, rows, baseline)
        made.variants  # noqa: B018  found here, not where it is shown
        return made

    return read


def _with_specs(
    store: Store, rows: Sequence[ResultRow], known: Mapping[int, ResultRow]
) -> list[ResultRow]:
    """The rows with their specs, which never change; a row that is as before is that one."""
    fresh = store.with_specs(row for row in rows if row["run_id"] not in known)
    specs = {row["run_id"]: row["spec"] for row in (*known.values(), *fresh)}
    told = [cast(ResultRow, {**row, "spec": specs[row["run_id"]]}) for row in rows]
    return [old if (old := known.get(row["run_id"])) == row else row for row in told]


def _unchanged(
    before: ComparedRuns,
    mine: Sequence[ResultRow],
    rows: Sequence[ResultRow],
    baseline: Baseline | None,
) -> bool:
    same_baseline = before.baseline == baseline
    return same_baseline and _same(mine, before.rows) and _same(rows, before.known)


def _same(rows: Sequence[ResultRow], before: Sequence[ResultRow]) -> bool:
    return len(rows) == len(before) and all(map(operator.is_, rows, before))


def _of_study(rows: Sequence[ResultRow], study: str | None) -> Sequence[ResultRow]:
    """A run that studies share bears the name of the one that is looked at."""
    return rows if study is None else [cast(ResultRow, {**row, "study": study}) for row in rows]
