"""How tables look."""

from __future__ import annotations

from PySide6.QtWidgets import QTableView


def set_up_table(table: QTableView, name: str, row_height: int) -> None:
    """Rows in two shades instead of a grid, each one line high and without a number.

    Args:
        name: what it shows, for screen readers.
        row_height: in pixels.
    """
    table.setAccessibleName(name)
    table.setAlternatingRowColors(True)
    table.setShowGrid(False)
    table.setWordWrap(False)
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(row_height)
    table.horizontalHeader().setHighlightSections(False)
