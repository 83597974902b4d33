"""How tables look."""

from __future__ import annotations

from PySide6.QtCore import QItemSelectionModel
from PySide6.QtWidgets import QTableView


def set_up_table(table: QTableView, name: str, row_height: int) -> None:
    """Rows in two shades instead of a grid, each one line high and without a number.

    Args:
        name: what it shows, for screen readers.
        row_height: in pixels.

    Call it after the table has its model.
    """
    table.setAccessibleName(name)
    table.setAlternatingRowColors(True)
    table.setShowGrid(False)
    table.setWordWrap(False)
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(row_height)
    header = table.horizontalHeader()
    header.setHighlightSections(False)
    if model := table.model():
        # Asked to draw a title, the header looks whether its whole column is selected, line by
        # line; of a selection of its own, which stays empty, it knows at once.
        header.setSelectionModel(QItemSelectionModel(model, header))
