"""The table of results: remembers columns, order and selection."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QItemSelectionModel, QSettings, Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from engine.report.cells import cell
from engine.store.columns import TableRow
from engine.store.run_table import RunTable
from gui.pages.runs.run_columns import COLUMNS
from gui.pages.runs.runs_model import RunsModel
from gui.widgets.tables import set_up_table

_FLAGS = QItemSelectionModel.SelectionFlag
_WIDTHS = {
    "run_id": 64,
    "model": 168,
    "compression": 212,
    "attack": 136,
    "clean_accuracy": 84,
    "robust_accuracy": 164,
    "compression_rate": 68,
    "size_bytes": 80,
    "status": 88,
    "tags": 72,
    "study": 216,
}
# The arrow of the sorted column stands above its title, where it hides no letter.
_STYLE = """
QTableView::item { padding: 0px 8px; }
QHeaderView::section { padding: 7px 11px 5px 11px; }
QHeaderView::up-arrow, QHeaderView::down-arrow {
    subcontrol-origin: border; subcontrol-position: top center;
    width: 9px; height: 6px; margin-top: 2px;
}
"""


class RunsTable(QTableView):
    """A view of all runs; whole lines are selected, and stay so wherever their runs move."""

    def __init__(self, table: RunTable, settings: QSettings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._kept: tuple[list[int], list[int], int] = ([], [], 0)
        self.runs = RunsModel(table, self)
        self.setModel(self.runs)
        self.runs.modelAboutToBeReset.connect(self._keep)
        self.runs.modelReset.connect(self._bring_back)
        self.setStyleSheet(_STYLE)
        set_up_table(self, "Results", 28)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setTabKeyNavigation(False)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.DescendingOrder)
        header = self.horizontalHeader()
        header.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header.setSectionsMovable(True)
        header.setStretchLastSection(True)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self._restore()

    def _restore(self) -> None:
        for number, column in enumerate(COLUMNS):
            self.setColumnWidth(number, _WIDTHS.get(column.id, 88))
        stored = self._settings.value("runs/header")
        known = self._settings.value("runs/known_columns") == _known()
        if not (stored and known and self.horizontalHeader().restoreState(stored)):
            self.usual_columns()

    def save_state(self) -> None:
        """Remember columns, widths and order."""
        self._settings.setValue("runs/header", self.horizontalHeader().saveState())
        self._settings.setValue("runs/known_columns", _known())

    def usual_columns(self) -> None:
        """Show the columns that are shown unless the person chose otherwise."""
        for number, column in enumerate(COLUMNS):
            self.setColumnHidden(number, not column.shown)

    def show_column(self, number: int, shown: bool) -> None:
        """Show or hide one column; the last one stays."""
        visible = len(COLUMNS) - self.horizontalHeader().hiddenSectionCount()
        if shown or visible > 1:
            self.setColumnHidden(number, not shown)
            self.save_state()

    def lines(self) -> npt.NDArray[np.int64]:
        """The selected lines, downwards."""
        selection = self.selectionModel().selection()
        parts = [selection.at(number) for number in range(selection.count())]
        ranges = [np.arange(part.top(), part.bottom() + 1, dtype=np.int64) for part in parts]
        return np.unique(np.concatenate(ranges)) if ranges else np.array([], np.int64)

    def selected_ids(self) -> list[int]:
        """The ids of the selected runs, in the order they are seen."""
        return self.runs.run_ids(self.lines())

    def selected(self) -> list[TableRow]:
        """The selected runs, in the order they are seen."""
        return self.runs.table.rows(self.runs.order[self.lines()])

    def shown_ids(self) -> list[int]:
        """The ids of all runs that are shown, in the order they are seen."""
        return self.runs.run_ids(np.arange(len(self.runs.order)))

    def select(self, run_ids: Iterable[int]) -> None:
        """Select these runs and bring the first one into view."""
        selection = self.runs.selection(run_ids)
        self.selectionModel().select(selection, _FLAGS.ClearAndSelect | _FLAGS.Rows)
        if not selection.isEmpty():
            first = self.runs.index(selection.first().top(), 0)
            self.selectionModel().setCurrentIndex(first, _FLAGS.NoUpdate)
            self.scrollTo(first)

    def _keep(self) -> None:
        current = self.currentIndex()
        at = [current.row()] if current.isValid() else []
        current_id = self.runs.run_ids(np.array(at, np.int64))
        self._kept = self.selected_ids(), current_id, self.verticalScrollBar().value()

    def _bring_back(self) -> None:
        chosen, current_id, scrolled = self._kept
        current = self.runs.selection(current_id)
        if not current.isEmpty():
            index = self.runs.index(current.first().top(), 0)
            self.selectionModel().setCurrentIndex(index, _FLAGS.NoUpdate)
        if chosen:
            selection = self.runs.selection(chosen)
            self.selectionModel().select(selection, _FLAGS.Select | _FLAGS.Rows)
        self.verticalScrollBar().setValue(scrolled)

    def as_tsv(self) -> str:
        """The selected rows with their visible columns, with a header line; names in full."""
        header = self.horizontalHeader()
        order = [header.logicalIndex(visual) for visual in range(header.count())]
        places = [number for number in order if not self.isColumnHidden(number)]
        lines = [[COLUMNS[number].title for number in places]]
        lines += [[COLUMNS[number].text(row) for number in places] for row in self.selected()]
        return "\n".join("\t".join(map(cell, line)) for line in lines) + "\n"


def _known() -> str:
    return ",".join(column.id for column in COLUMNS)
