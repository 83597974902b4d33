"""Two columns of label and value, for panels of facts."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

Fact = tuple[str, str, str]
"""Label, value, and what explains the value ("" for nothing)."""


class Facts(QWidget):
    """A heading over labelled values that can be selected and copied; hidden when empty."""

    def __init__(self, title: str, facts: Iterable[Fact], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        heading = QLabel(title)
        heading.setProperty("role", "heading")
        column.addWidget(heading)
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(1, 1)
        column.addLayout(grid)
        for label, value, explanation in facts:
            _add(grid, label, value, explanation)
        self.setVisible(grid.count() > 0)


def _add(grid: QGridLayout, label: str, value: str, explanation: str) -> None:
    row = grid.rowCount()
    name, shown = QLabel(label), QLabel(value)
    name.setProperty("role", "muted")
    shown.setWordWrap(True)
    shown.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    grid.addWidget(name, row, 0, Qt.AlignmentFlag.AlignTop)
    grid.addWidget(shown, row, 1)
    if explanation:
        note = QLabel(explanation)
        note.setProperty("role", "small")
        note.setWordWrap(True)
        grid.addWidget(note, row + 1, 1)
