"""The paired differences below the chart, and the choice of what they are differences to."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from engine.report.naming import BASE
from engine.statistics.words import counted
from gui.base.model_names import model_title
from gui.bridge.results_thread import ResultsThread
from gui.pages.compare.compared_runs import Baseline, ComparedRuns, Selection
from gui.pages.compare.difference_table import DifferenceTable
from gui.widgets.fill_box import fill_box
from gui.widgets.inputs import ComboBox

_OWN = "the uncompressed model of each"


class DifferencePanel(QWidget):
    """The table, and above it the baseline.

    Signals:
        baseline_chosen: another one (see ``baseline``).
    """

    baseline_chosen = Signal()

    def __init__(self, results: ResultsThread, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = DifferenceTable(results, self)
        self.box, self.family = ComboBox(self), QLabel(self)
        self._selection: Selection | None = None
        self.box.setAccessibleName("Baseline")
        self.box.setToolTip("The variant that every other is compared with, attack by attack.")
        self.box.setSizeAdjustPolicy(
            ComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.box.setMinimumContentsLength(36)
        self.box.addItem(_OWN, None)
        self.family.setProperty("role", "muted")
        self.family.setAccessibleName("Tests that are corrected for")
        top = QHBoxLayout()
        top.addWidget(QLabel("Differences to", self))
        top.addWidget(self.box)
        top.addStretch()
        top.addWidget(self.family)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.setSpacing(4)
        column.addLayout(top)
        column.addWidget(self.table, 1)
        self.box.activated.connect(lambda _line: self.baseline_chosen.emit())
        self.table.adjusted.connect(self._tell_family)

    def baseline(self) -> Baseline | None:
        """The variant that was chosen; None for the uncompressed model of each."""
        chosen = self.box.currentData()
        return chosen if isinstance(chosen, Baseline) else None

    def show_runs(self, runs: ComparedRuns) -> None:
        """Show the differences of these runs, and offer their variants as a baseline."""
        chosen, variants = self.baseline(), list(runs.variants)
        elsewhere = chosen is not None and chosen not in variants
        if elsewhere and self._selection not in (None, runs.selection):
            chosen = None  # it was one of other runs
            self.box.setCurrentIndex(0)
            self.baseline_chosen.emit()
        elif elsewhere and chosen is not None:
            variants.append(chosen)  # a filter hides it, and it is what was asked for
        self._selection = runs.selection
        fill_box(self.box, [(_OWN, None), *((_title(one), one) for one in variants)])
        lines = (line for line in range(self.box.count()) if self.box.itemData(line) == chosen)
        self.box.setCurrentIndex(next(lines, 0))
        self.table.show_rows(runs.rows, runs.references, runs.baseline)

    def _tell_family(self) -> None:
        tests = len(self.table.model_.adjusted)
        self.family.setText(f"p (Holm) over {counted(tests, 'difference')}" if tests else "")


def _title(variant: Baseline) -> str:
    made = "uncompressed" if variant.compression == BASE else variant.compression
    return f"{model_title(variant.model)}, {made}"
