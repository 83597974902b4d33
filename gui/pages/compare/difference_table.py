"""The table of paired differences; it fills row by row, so that the window never waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from PySide6.QtCore import QItemSelectionModel, Qt, QTimer, Signal
from PySide6.QtWidgets import QAbstractItemView, QTableView, QWidget

from engine.statistics.intervals import PairedDifference, paired_difference
from engine.store import ResultRow, Store
from gui.pages.compare.chart_data import Baseline
from gui.pages.compare.difference_model import Comparison, DifferenceModel
from gui.widgets.tables import set_up_table

_FLAGS = QItemSelectionModel.SelectionFlag
_WIDTHS = (48, 160, 196, 132, 144, 160, 96, 88, 112)

Verdicts = tuple[tuple[int, ...], tuple[bool, ...]]


class DifferenceTable(QTableView):
    """Runs against the uncompressed model of the same study, model and attack.

    Signals:
        chosen: the run ids of the selected rows.
    """

    chosen = Signal(list)

    def __init__(self, store: Store, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._store = store
        self._verdicts: dict[int, Verdicts] = {}
        self._found: dict[tuple[int, int], PairedDifference | None] = {}
        self._waiting: deque[tuple[int, ResultRow, ResultRow]] = deque()
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._work)
        self.model_ = DifferenceModel(self)
        self.setModel(self.model_)
        set_up_table(self, "Differences to the uncompressed model", 26)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setTabKeyNavigation(False)
        for column, width in enumerate(_WIDTHS):
            self.setColumnWidth(column, width)
        self.selectionModel().selectionChanged.connect(self._on_selection)

    def show_rows(self, rows: Sequence[ResultRow], baseline: Baseline) -> None:
        """Show these runs; differences that are not known yet come in the background."""
        before = self.selected()
        comparisons: list[Comparison] = []
        self._waiting.clear()
        for row in rows:
            reference = baseline(row)
            comparison = self._known(row, reference)
            if reference is not None and comparison.reason == "...":
                self._waiting.append((len(comparisons), row, reference))
            comparisons.append(comparison)
        self.model_.set_comparisons(comparisons)
        self.choose(before)
        if self._waiting:
            self._timer.start()

    def _known(self, row: ResultRow, reference: ResultRow | None) -> Comparison:
        if reference is None:
            baseline = row["compression"] == "none"
            return Comparison(row, reason="baseline" if baseline else "no baseline")
        if row["robust_accuracy"] is None:
            return Comparison(row, reason="–")  # distances: no share of images to compare
        pair = row["run_id"], reference["run_id"]
        if pair not in self._found:
            return Comparison(row, reason="...")
        difference = self._found[pair]
        return Comparison(row, difference, "" if difference else "other images")

    def _work(self) -> None:
        """Compute one difference; called when the window has nothing else to do."""
        if not self._waiting:
            self._timer.stop()
            return
        line, row, reference = self._waiting.popleft()
        pair = row["run_id"], reference["run_id"]
        self._found[pair] = self._difference(*pair)
        self.model_.replace(line, self._known(row, reference))

    def _difference(self, run_id: int, reference: int) -> PairedDifference | None:
        images, broken = self._read(run_id)
        other_images, other_broken = self._read(reference)
        if not images or images != other_images:
            return None
        return paired_difference(broken, other_broken)

    def _read(self, run_id: int) -> Verdicts:
        if run_id not in self._verdicts:
            samples = self._store.samples(run_id)
            self._verdicts[run_id] = (
                tuple(sample["index"] for sample in samples),
                tuple(sample["broken"] for sample in samples),
            )
        return self._verdicts[run_id]

    def selected(self) -> list[int]:
        """The run ids of the selected rows."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        return [self.model_.comparisons[row].row["run_id"] for row in rows]

    def choose(self, run_ids: Sequence[int]) -> None:
        """Select the rows of these runs."""
        model = self.selectionModel()
        model.clearSelection()
        for line, comparison in enumerate(self.model_.comparisons):
            if comparison.row["run_id"] in run_ids:
                index = self.model_.index(line, 0)
                model.select(index, _FLAGS.Select | _FLAGS.Rows)
                model.setCurrentIndex(index, _FLAGS.NoUpdate)
                self.scrollTo(index)

    def _on_selection(self, *_: object) -> None:
        self.chosen.emit(self.selected())
