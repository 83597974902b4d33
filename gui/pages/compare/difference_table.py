"""The table of paired differences; it fills from the thread that reads."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from itertools import compress, count

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QItemSelection, QItemSelectionModel, QModelIndex, Qt, Signal
from PySide6.QtWidgets import QAbstractItemView, QTableView, QWidget

from engine.errors import CrumpleError
from engine.report.differences import Difference
from engine.report.identity import is_second_attack
from engine.report.naming import BASE
from engine.statistics.intervals import PairedDifference, holm, paired_difference
from engine.store import ResultRow, Store
from gui.bridge.results_thread import ResultsThread
from gui.pages.compare.compared_runs import Baseline, References
from gui.pages.compare.difference_model import Comparison, DifferenceModel
from gui.widgets.tables import set_up_table

_FLAGS = QItemSelectionModel.SelectionFlag
_WIDTHS = (48, 160, 180, 120, 144, 160, 100, 84, 88, 96, 72, 164, 108, 100)

_MARGINS = 20
_WAITS = "..."
_AT_ONCE = 40
"""Differences that are computed before others have their turn."""

_FEW = 100
"""Lines that are told of one by one; where more changed, the table is told once of all."""

Pair = tuple[int, int]
"""A run and the one it is compared with."""
Verdicts = tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]
"""The images of a run, and which of them are broken."""


class DifferenceReader:
    """Computes differences from stored images; what it has read of a run it keeps."""

    def __init__(self) -> None:
        self._verdicts: dict[int, Verdicts] = {}

    def of(self, store: Store, pairs: Sequence[Pair]) -> dict[Pair, PairedDifference | None]:
        """The differences of these pairs; None where they saw other images."""
        return {pair: self._difference(store, *pair) for pair in pairs}

    def _difference(self, store: Store, run_id: int, reference: int) -> PairedDifference | None:
        images, broken = self._read(store, run_id)
        other_images, other_broken = self._read(store, reference)
        if not len(images) or not np.array_equal(images, other_images):
            return None
        return paired_difference(broken, other_broken)

    def _read(self, store: Store, run_id: int) -> Verdicts:
        if run_id not in self._verdicts:
            samples = store.samples(run_id)
            self._verdicts[run_id] = (
                np.array([sample["index"] for sample in samples], np.int64),
                np.array([sample["broken"] for sample in samples], bool),
            )
        return self._verdicts[run_id]


class DifferenceTable(QTableView):
    """Runs against the baseline on the same images under the same attack.

    Signals:
        chosen: the run ids of the selected rows.
        refused: a ``CrumpleError``: some images cannot be read.
        adjusted: all differences are there, and their p-values after Holm.
    """

    chosen = Signal(list)
    refused = Signal(object)
    adjusted = Signal()

    def __init__(self, results: ResultsThread, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._results = results
        self._reader = DifferenceReader()
        self._found: dict[Pair, PairedDifference | None] = {}
        self._waiting: list[tuple[int, ResultRow]] = []
        self._rows: list[ResultRow] = []
        self._bases: list[int | None] = []
        self._baseline: Baseline | None = None
        self._p_values: Mapping[int, float] = {}
        self._holm: Mapping[int, float] = {}
        self.model_ = DifferenceModel(self)
        self.setModel(self.model_)
        set_up_table(self, "Differences to the baseline", 26)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setTabKeyNavigation(False)
        for column, width in enumerate(_WIDTHS):
            self.setColumnWidth(column, width)
        self.selectionModel().selectionChanged.connect(self._on_selection)

    def show_rows(
        self, rows: Sequence[ResultRow], references: References, baseline: Baseline | None = None
    ) -> None:
        """Show these runs; differences that are not known yet come in the background.

        Where they are the runs of before, only the lines of those that changed are touched.
        """
        same_baseline = baseline == self._baseline
        self._baseline = baseline
        known_bases = {run_id: base["run_id"] for run_id, base in references.items()}
        bases = [known_bases.get(row["run_id"]) for row in rows]
        # Without a base a line says whether it is of the baseline, which may be another now.
        changed = self._changed(rows, bases) if same_baseline else None
        self._rows, self._bases = list(rows), bases
        if changed is None:
            before = self.selected()
            known = [self._known(row, references.get(row["run_id"])) for row in rows]
            whole = all(one.reason != _WAITS for one in known)
            self.model_.set_comparisons(known, self._corrected(known) if whole else {})
            self._fit_numbers(max((row["run_id"] for row in rows), default=0))
            self.choose(before)
        for line in changed or ():
            row = rows[line]
            self.model_.replace(line, self._known(row, references.get(row["run_id"])))
        self._waiting = [
            (line, references[one.row["run_id"]])
            for line, one in enumerate(self.model_.comparisons)
            if one.reason == _WAITS
        ]
        if self._waiting:
            self.model_.adjust({})  # those of before are of another family
        self._ask()

    def _changed(self, rows: Sequence[ResultRow], bases: Sequence[int | None]) -> list[int] | None:
        """The lines of runs that are not as they were; None where there are many or others."""
        if len(rows) != len(self._rows):
            return None
        # Without a step of Python for each of thousands of lines, of which a few changed.
        other = map(operator.is_not, rows, self._rows)
        elsewhere = map(operator.ne, bases, self._bases)
        changed = [*compress(count(), map(operator.or_, other, elsewhere))]
        if any(rows[line]["run_id"] != self._rows[line]["run_id"] for line in changed):
            return None
        return changed if len(changed) <= _FEW else None

    def _fit_numbers(self, largest: int) -> None:
        """Room for the number of a run, which tells nothing when it is cut."""
        width = self.fontMetrics().horizontalAdvance(str(largest)) + _MARGINS
        self.setColumnWidth(0, max(_WIDTHS[0], width))

    def settled(self) -> bool:
        """Whether every difference is there."""
        return not self._waiting

    def _is_baseline(self, row: ResultRow) -> bool:
        return self._baseline.has(row) if self._baseline else row["compression"] == BASE

    def _known(self, row: ResultRow, reference: ResultRow | None) -> Comparison:
        if is_second_attack(row):
            return Comparison(row, reason="second attack")
        if reference is None:
            baseline = self._is_baseline(row)
            return Comparison(row, reason="baseline" if baseline else "no baseline")
        if row["robust_accuracy"] is None:
            return Comparison(row, reason="–")  # distances: no share of images to compare
        pair = row["run_id"], reference["run_id"]
        if pair not in self._found:
            return Comparison(row, reason=_WAITS)
        difference = self._found[pair]
        return Comparison(row, reference, difference, "" if difference else "other images")

    def _ask(self) -> None:
        """Have the next few differences computed, so that others have their turn between."""
        few = self._waiting[:_AT_ONCE]
        rows = [self.model_.comparisons[line].row for line, _ in few]
        pairs = [(row["run_id"], base["run_id"]) for row, (_, base) in zip(rows, few, strict=True)]
        if pairs:
            reader = self._reader
            self._results.ask(
                self, "differences", lambda store: reader.of(store, pairs), self._take, self._refuse
            )
        else:
            self._adjust()

    def _adjust(self) -> None:
        """Correct for all differences that are shown, once they are there."""
        self.model_.adjust(self._corrected(self.model_.comparisons))
        self.adjusted.emit()

    def _corrected(self, comparisons: Sequence[Comparison]) -> Mapping[int, float]:
        """By line the p-values after Holm; counted anew only where a difference is another."""
        p_values = {
            line: one.difference.p_value
            for line, one in enumerate(comparisons)
            if one.difference is not None
        }
        if p_values != self._p_values:
            self._p_values = p_values
            self._holm = dict(zip(p_values, holm([*p_values.values()]), strict=True))
        return self._holm

    def differences(self) -> list[Difference]:
        """What is shown, as exports take it; those that are there."""
        return [
            Difference(one.row, one.beside, one.difference, self.model_.adjusted[line])
            for line, one in enumerate(self.model_.comparisons)
            if one.difference is not None and one.beside is not None
            if line in self.model_.adjusted
        ]

    def _refuse(self, error: CrumpleError) -> None:
        """What cannot be read says so where the difference would stand."""
        for line, _ in self._waiting:
            self.model_.replace(
                line, Comparison(self.model_.comparisons[line].row, reason="unread")
            )
        self._waiting = []
        self._adjust()
        self.refused.emit(error)

    def _take(self, found: Mapping[Pair, PairedDifference | None]) -> None:
        self._found.update(found)
        few, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
        for line, reference in few:
            self.model_.replace(line, self._known(self.model_.comparisons[line].row, reference))
        self._ask()

    def selected(self) -> list[int]:
        """The run ids of the selected rows."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        return [self.model_.comparisons[row].row["run_id"] for row in rows]

    def choose(self, run_ids: Sequence[int]) -> None:
        """Select the rows of these runs."""
        wanted = frozenset(run_ids)
        selection = QItemSelection()
        index = QModelIndex()
        for line, comparison in enumerate(self.model_.comparisons if wanted else ()):
            if comparison.row["run_id"] in wanted:
                index = self.model_.index(line, 0)
                selection.select(index, index)
        self.selectionModel().select(selection, _FLAGS.ClearAndSelect | _FLAGS.Rows)
        if index.isValid():
            self.selectionModel().setCurrentIndex(index, _FLAGS.NoUpdate)
            self.scrollTo(index)

    def _on_selection(self, *_: object) -> None:
        self.chosen.emit(self.selected())
