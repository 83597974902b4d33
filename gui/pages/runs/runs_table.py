"""The table of results: remembers columns, order and selection."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QSettings, Qt
from PySide6.QtWidgets import QHeaderView, QWidget

from engine.report.cells import cell
from engine.store.run_table import RunTable
from gui.pages.runs.run_columns import COLUMNS
from gui.pages.runs.runs_model import RunsModel
from gui.widgets.run_lines import RunView
from gui.widgets.tables import set_up_table

_WIDTHS = {
    "run_id": 72,
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


class RunsTable(RunView):
    """All runs with the columns that a person chose."""

    def __init__(self, table: RunTable, settings: QSettings, parent: QWidget | None = None) -> None:
        self.runs = RunsModel(table)
        super().__init__(self.runs, parent)
        self.runs.setParent(self)
        self._settings = settings
        self.setStyleSheet(_STYLE)
        set_up_table(self, "Results", 28)
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

    def shown_ids(self) -> list[int]:
        """The ids of all runs that are shown, in the order they are seen."""
        return self.runs.run_ids(np.arange(len(self.runs.order)))

    def as_tsv(self) -> str:
        """The selected rows with their visible columns, with a header line; names in full."""
        header = self.horizontalHeader()
        order = [header.logicalIndex(visual) for visual in range(header.count())]
        places = [number for number in order if not self.isColumnHidden(number)]
        rows = self.runs.table.rows(self.selected_places())
        lines = [[COLUMNS[number].title for number in places]]
        lines += [[COLUMNS[number].text(row) for number in places] for row in rows]
        return "\n".join("\t".join(map(cell, line)) for line in lines) + "\n"


def _known() -> str:
    return ",".join(column.id for column in COLUMNS)
