"""The results as a table model that sorts and filters itself, by whole columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QColor

from engine.report.evidence import LEVEL_ROLES, worst
from engine.report.naming import shortened
from engine.store.columns import TableRow
from engine.store.run_table import RunTable
from engine.store.text_column import Places
from gui.base import theme
from gui.pages.runs.run_columns import COLUMNS, RunColumn, flag_words
from gui.widgets.run_filter import RunFilter
from gui.widgets.run_lines import NOWHERE, Index, RunLines

_ROLE = Qt.ItemDataRole
_STATUS_COLOURS = {"failed": "danger", "cancelled": "muted", "waiting": "muted", "running": "ok"}


class RunsModel(RunLines):
    """The runs of a study, or of all, that the filter lets through.

    Numbers sort as numbers, and what is missing comes last in either direction. Variants are
    named without spelled-out parameters where that tells them apart; the tool tip has all.
    """

    def __init__(self, table: RunTable, parent: QObject | None = None) -> None:
        super().__init__(table, parent)
        self._study: str | None = None
        self._filter = RunFilter()
        self._column, self._downwards = 0, True
        self._short: dict[str, str] = {}

    # -- what is shown ---------------------------------------------------------------------

    def set_study(self, study: str | None) -> None:
        """Show the runs of one study only, or of all; ``arrange`` does it."""
        self._study = study

    def set_filter(self, run_filter: RunFilter) -> None:
        """Show only the runs that it lets through; ``arrange`` does it."""
        self._filter = run_filter

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column, runs that are equal by their number."""
        self._column, self._downwards = column, order == Qt.SortOrder.DescendingOrder
        self.arrange()

    def arrange(self) -> None:
        """Look anew which runs are shown, and in which order."""
        order = self._sorted(self._chosen())
        short = shortened(self.table.rows(self.table.distinct("compression", order)))
        reworded, self._short = short != self._short, short
        self.show(order, reworded=reworded)

    def _chosen(self) -> Places:
        places = (
            np.flatnonzero(self.table.shown())
            if self._study is None
            else np.sort(self.table.members(self._study))
        )
        return places[self._filter.mask(self.table)[places]]

    def _sorted(self, places: Places) -> Places:
        keys = COLUMNS[self._column].sort(self.table)[places] if len(places) else np.array([])
        known = ~np.isnan(keys)
        parts = [places[known][np.argsort(keys[known], kind="stable")], places[~known]]
        return np.concatenate([part[::-1] if self._downwards else part for part in parts])

    # -- what the view asks ----------------------------------------------------------------

    def columnCount(self, parent: Index = NOWHERE) -> int:
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
        column = COLUMNS[index.column()]
        if role == _ROLE.TextAlignmentRole:
            return _alignment(column)
        row = self.row(index.row())
        match role:
            case _ROLE.DisplayRole:
                text = column.text(row)
                return self._short.get(text, text) if column.id == "compression" else text
            case _ROLE.ToolTipRole | _ROLE.AccessibleDescriptionRole:
                return _words(row, column)
            case _ROLE.DecorationRole if column.id == "robust_accuracy" and row["flags"]:
                level = worst(row["flags"])
                return theme.icon(f"light-{level}", LEVEL_ROLES[level])
            case _ROLE.ForegroundRole if column.id == "status":
                return _status_colour(row)
        return None


def _alignment(column: RunColumn) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column.number else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def _words(row: TableRow, column: RunColumn) -> str | None:
    if column.id in ("robust_accuracy", "flags") and row["flags"]:
        return flag_words(row)
    if column.id == "model":
        return f"{column.text(row)}\n{row['model']}"
    return column.text(row) or None


def _status_colour(row: TableRow) -> QColor | None:
    role = _STATUS_COLOURS.get(row["status"])
    return theme.colour(role) if role else None
