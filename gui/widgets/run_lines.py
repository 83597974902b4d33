"""Runs as lines of a table: a model over the shared columns, and a view whose selection stays."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import (
    QAbstractTableModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
)
from PySide6.QtWidgets import QAbstractItemView, QTableView, QWidget

from engine.store.columns import TableRow
from engine.store.run_table import RunTable
from engine.store.text_column import Places

Index = QModelIndex | QPersistentModelIndex
NOWHERE = QModelIndex()
_FLAGS = QItemSelectionModel.SelectionFlag
_FEW = 100
"""Lines that are drawn anew one by one."""


class RunLines(QAbstractTableModel):
    """Which runs of a table are shown, and in which order: line k is the run at ``order[k]``."""

    def __init__(self, table: RunTable, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.table = table
        self.order: Places = np.array([], np.int64)
        self._stamp = 0

    def show(self, order: Places, *, reworded: bool = False) -> None:
        """Show these runs; where they are the same ones, those that changed are drawn anew.

        Args:
            reworded: cells of any run may say something else.
        """
        since, self._stamp = self._stamp, self.table.stamp
        if np.array_equal(order, self.order):
            lines = np.flatnonzero(self.table.stamps[order] > since)
            if reworded or len(lines) > _FEW:
                self.announce(0, len(order) - 1)
            else:
                for line in lines.tolist():
                    self.announce(line, line)
            return
        self.beginResetModel()
        self.order = order
        self.endResetModel()

    def announce(self, first: int, last: int) -> None:
        """Have these lines drawn anew."""
        if first <= last:
            corner = self.index(last, self.columnCount() - 1)
            self.dataChanged.emit(self.index(first, 0), corner)

    def row(self, line: int) -> TableRow:
        """The run in a line."""
        return self.table.row(int(self.order[line]))

    def line(self, run_id: int) -> int | None:
        """The line of a run, None if it is not shown."""
        lines = np.flatnonzero(np.isin(self.order, self.table.places([run_id])))
        return int(lines[0]) if len(lines) else None

    def run_ids(self, lines: npt.NDArray[np.int64]) -> list[int]:
        """The ids of the runs in these lines."""
        ids: list[int] = self.table.ids[self.order[lines]].tolist()
        return ids

    def selection(self, run_ids: Iterable[int]) -> QItemSelection:
        """Whole lines of these runs, as few ranges as they make."""
        among = np.zeros(len(self.table.ids), np.bool_)
        among[self.table.places(run_ids)] = True
        wanted = np.concatenate([[False], among[self.order], [False]])
        edges = np.flatnonzero(wanted[1:] != wanted[:-1])
        selection = QItemSelection()
        for first, after in edges.reshape(-1, 2).tolist():
            last = self.index(after - 1, self.columnCount() - 1)
            selection.select(self.index(first, 0), last)
        return selection

    def rowCount(self, parent: Index = NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.order)


class RunView(QTableView):
    """A view of ``RunLines``; whole lines are selected, and stay so wherever their runs move."""

    def __init__(self, lines: RunLines, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lines = lines
        self._kept: tuple[list[int], list[int], int] = ([], [], 0)
        self.setModel(lines)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setTabKeyNavigation(False)
        lines.modelAboutToBeReset.connect(self._keep)
        lines.modelReset.connect(self._bring_back)

    def lines(self) -> npt.NDArray[np.int64]:
        """The selected lines, downwards."""
        selection = self.selectionModel().selection()
        parts = [selection.at(number) for number in range(selection.count())]
        ranges = [np.arange(part.top(), part.bottom() + 1, dtype=np.int64) for part in parts]
        return np.sort(np.concatenate(ranges)) if ranges else np.array([], np.int64)

    def selected_places(self) -> Places:
        """Where the selected runs stand in the table, in the order they are seen."""
        return self._lines.order[self.lines()]

    def selected_ids(self) -> list[int]:
        """The ids of the selected runs, in the order they are seen."""
        return self._lines.run_ids(self.lines())

    def select(self, run_ids: Iterable[int]) -> None:
        """Select these runs and bring the first one into view."""
        selection = self._lines.selection(run_ids)
        self.selectionModel().select(selection, _FLAGS.ClearAndSelect | _FLAGS.Rows)
        if not selection.isEmpty():
            first = self._lines.index(selection.first().top(), 0)
            self.selectionModel().setCurrentIndex(first, _FLAGS.NoUpdate)
            self.scrollTo(first)

    def _keep(self) -> None:
        current = self.currentIndex()
        at = [current.row()] if current.isValid() else []
        current_id = self._lines.run_ids(np.array(at, np.int64))
        self._kept = self.selected_ids(), current_id, self.verticalScrollBar().value()

    def _bring_back(self) -> None:
        chosen, current_id, scrolled = self._kept
        current = self._lines.selection(current_id)
        if not current.isEmpty():
            index = self._lines.index(current.first().top(), 0)
            self.selectionModel().setCurrentIndex(index, _FLAGS.NoUpdate)
        if chosen:
            selection = self._lines.selection(chosen)
            self.selectionModel().select(selection, _FLAGS.Select | _FLAGS.Rows)
        self.verticalScrollBar().setValue(scrolled)
