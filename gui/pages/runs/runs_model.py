"""The results as a table model, and the proxy that sorts and filters it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
)
from PySide6.QtGui import QColor

from engine.report.evidence import LEVEL_ROLES, worst
from engine.report.naming import shortened
from engine.store import ResultRow
from gui.base import theme
from gui.pages.runs.run_columns import COLUMNS, RunColumn, flag_words
from gui.widgets.run_filter import RunFilter

Index = QModelIndex | QPersistentModelIndex
ROW_ROLE = Qt.ItemDataRole.UserRole
_NOWHERE = QModelIndex()
_ROLE = Qt.ItemDataRole
_STATUS_COLOURS = {"failed": "danger", "cancelled": "muted", "waiting": "muted", "running": "ok"}


class RunsModel(QAbstractTableModel):
    """Rows of ``Store.results``; ``ROW_ROLE`` gives the whole row.

    Variants are named without spelled-out parameters where that tells them apart; the tooltip
    has all of them.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.rows: list[ResultRow] = []
        self._short: dict[str, str] = {}

    def set_rows(self, rows: Sequence[ResultRow]) -> None:
        """Show these; cells change in place while the runs stay the same."""
        self._short = shortened(rows)
        old = [row["run_id"] for row in self.rows]
        if [row["run_id"] for row in rows] != old:
            self.beginResetModel()
            self.rows = list(rows)
            self.endResetModel()
            return
        changed = [i for i, row in enumerate(rows) if row != self.rows[i]]
        self.rows = list(rows)
        for i in changed:
            self.dataChanged.emit(self.index(i, 0), self.index(i, len(COLUMNS) - 1))

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = _ROLE.DisplayRole
    ) -> Any:
        if orientation == Qt.Orientation.Vertical:
            return None
        column = COLUMNS[section]
        if role == _ROLE.TextAlignmentRole:
            return _alignment(column)
        if role == _ROLE.DisplayRole:
            return column.title
        return column.hint if role == _ROLE.ToolTipRole else None

    def data(self, index: Index, role: int = _ROLE.DisplayRole) -> Any:
        row, column = self.rows[index.row()], COLUMNS[index.column()]
        match role:
            case _ROLE.DisplayRole:
                text = column.text(row)
                return self._short[text] if column.id == "compression" else text
            case _ROLE.TextAlignmentRole:
                return _alignment(column)
            case _ROLE.ToolTipRole | _ROLE.AccessibleDescriptionRole:
                return _words(row, column)
            case _ROLE.DecorationRole if column.id == "robust_accuracy" and row["flags"]:
                level = worst(row["flags"])
                return theme.icon(f"light-{level}", LEVEL_ROLES[level])
            case _ROLE.ForegroundRole if column.id == "status":
                return _status_colour(row)
            case _ if role == ROW_ROLE:
                return row
        return None


class RunsProxy(QSortFilterProxyModel):
    """Sorts by value (numbers as numbers, missing last) and filters by the filter line."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._filter = RunFilter()

    def set_filter(self, run_filter: RunFilter) -> None:
        """Show only what it accepts."""
        self.beginFilterChange()
        self._filter = run_filter
        self.endFilterChange()

    def filterAcceptsRow(self, source_row: int, source_parent: Index) -> bool:
        return self._filter.accepts(self._rows()[source_row])

    def lessThan(self, left: Index, right: Index) -> bool:
        key = COLUMNS[left.column()].key
        rows = self._rows()
        row, other = rows[left.row()], rows[right.row()]
        a, b = key(row), key(other)
        if a == b:
            return bool(row["run_id"] < other["run_id"])
        if a is None or b is None:
            # Qt reverses the answer when it sorts downwards; missing values stay last.
            up = self.sortOrder() == Qt.SortOrder.AscendingOrder
            return (b is None and a is not None) if up else (a is None and b is not None)
        return bool(a < b)

    def shown(self) -> list[ResultRow]:
        """The rows in the order they are seen."""
        return [self.index(i, 0).data(ROW_ROLE) for i in range(self.rowCount())]

    def _rows(self) -> list[ResultRow]:
        model = self.sourceModel()
        return model.rows if isinstance(model, RunsModel) else []


def _alignment(column: RunColumn) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column.number else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def _words(row: ResultRow, column: RunColumn) -> str | None:
    if column.id in ("robust_accuracy", "flags") and row["flags"]:
        return flag_words(row)
    if column.id == "model":
        return f"{column.text(row)}\n{row['model']}"
    return column.text(row) or None


def _status_colour(row: ResultRow) -> QColor | None:
    role = _STATUS_COLOURS.get(row["status"])
    return theme.colour(role) if role else None
