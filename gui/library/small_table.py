"""A short table to read: as high as its rows, without a scroll bar of its own."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from gui.widgets.tables import set_up_table

_ROW = 24
_MOST_ROWS = 12


class SmallTable(QTableWidget):
    """Rows of text; one column takes what room is left.

    Args:
        titles: of the columns.
        name: what it shows, for screen readers.
        most: rows that are seen at once.
        widest: the column that takes the room.
    """

    def __init__(
        self, titles: Sequence[str], name: str, most: int = _MOST_ROWS, widest: int = 0
    ) -> None:
        super().__init__(0, len(titles))
        self._most = most
        set_up_table(self, name, _ROW)
        self.setHorizontalHeaderLabels(list(titles))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        header = self.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(widest, QHeaderView.ResizeMode.Stretch)

    def set_rows(self, rows: Sequence[Sequence[str]], marked: Sequence[bool] = ()) -> None:
        """Show these; marked ones are bold."""
        self.setRowCount(len(rows))
        for line, row in enumerate(rows):
            for column, text in enumerate(row):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                if line < len(marked) and marked[line]:
                    font = item.font()
                    font.setBold(True)
                    item.setFont(font)
                self.setItem(line, column, item)
        shown = min(len(rows), self._most)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + shown * _ROW + 6)
        self.setVisible(bool(rows))
