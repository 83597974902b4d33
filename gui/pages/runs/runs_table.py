"""The table of results: remembers columns, order and selection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from PySide6.QtCore import QItemSelectionModel, QModelIndex, QSettings, Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from engine.report.cells import cell
from engine.store import ResultRow
from gui.pages.runs.run_columns import COLUMNS
from gui.pages.runs.runs_model import ROW_ROLE, RunsModel, RunsProxy
from gui.widgets.run_filter import RunFilter
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
    """A view of ``Store.results``; whole rows are selected."""

    def __init__(self, settings: QSettings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self.runs = RunsModel(self)
        self.proxy = RunsProxy(self)
        self.proxy.setSourceModel(self.runs)
        self.setModel(self.proxy)
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

    def set_rows(self, rows: Sequence[ResultRow]) -> None:
        """Show these rows; the selection stays with its runs."""
        chosen = [row["run_id"] for row in self.selected()]
        self.runs.set_rows(rows)
        if chosen != [row["run_id"] for row in self.selected()]:
            self.select(chosen)

    def set_filter(self, run_filter: RunFilter) -> None:
        """Show only the rows it accepts."""
        self.proxy.set_filter(run_filter)

    def selected(self) -> list[ResultRow]:
        """The selected rows, in the order they are seen."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        return [self.proxy.index(row, 0).data(ROW_ROLE) for row in rows]

    def select(self, run_ids: Iterable[int]) -> None:
        """Select these runs and bring the first one into view."""
        wanted = set(run_ids)
        model = self.selectionModel()
        model.clearSelection()
        first = QModelIndex()
        for line in range(self.proxy.rowCount()):
            index = self.proxy.index(line, 0)
            if index.data(ROW_ROLE)["run_id"] in wanted:
                model.select(index, _FLAGS.Select | _FLAGS.Rows)
                first = first if first.isValid() else index
        if first.isValid():
            model.setCurrentIndex(first, _FLAGS.NoUpdate)
            self.scrollTo(first)

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
