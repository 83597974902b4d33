"""Two columns of label and value, for panels of facts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

Fact = tuple[str, str, str]
"""Label, value, and what explains the value ("" for nothing)."""


class Compared(NamedTuple):
    """What was asked for beside what came of it."""

    label: str
    requested: str
    achieved: str
    explanation: str


class ComparedFacts(QWidget):
    """Requested and achieved numbers in two columns side by side; hidden when empty."""

    def __init__(self, rows: Iterable[Compared], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(2, 1)
        for column, head in enumerate(("", "Requested", "Achieved")):
            title = QLabel(head, self)
            title.setProperty("role", "heading")
            grid.addWidget(title, 0, column)
        for row in rows:
            line = grid.rowCount()
            for column, text in enumerate(row[:3]):
                shown = QLabel(text, self)
                if column == 0:
                    shown.setProperty("role", "muted")
                else:
                    shown.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                grid.addWidget(shown, line, column)
            note = QLabel(row.explanation, self)
            note.setProperty("role", "small")
            note.setWordWrap(True)
            grid.addWidget(note, line + 1, 1, 1, 2)
        if grid.rowCount() <= 1:  # showing it here would open a window: it has no parent yet
            self.hide()


class Facts(QWidget):
    """A heading over labelled values that can be selected and copied; hidden when empty."""

    def __init__(self, title: str, facts: Iterable[Fact], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        heading = QLabel(title, self)
        heading.setProperty("role", "heading")
        column.addWidget(heading)
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(1, 1)
        column.addLayout(grid)
        for fact in facts:
            _add(self, grid, fact)
        if not grid.count():  # showing it here would open a window, if it has no parent yet
            self.hide()


def _add(host: QWidget, grid: QGridLayout, fact: Fact) -> None:
    label, value, explanation = fact
    row = grid.rowCount()
    name, shown = QLabel(label, host), QLabel(value, host)
    name.setProperty("role", "muted")
    shown.setWordWrap(True)
    shown.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    grid.addWidget(name, row, 0, Qt.AlignmentFlag.AlignTop)
    grid.addWidget(shown, row, 1)
    if explanation:
        note = QLabel(explanation, host)
        note.setProperty("role", "small")
        note.setWordWrap(True)
        grid.addWidget(note, row + 1, 1)
