"""F1: all keyboard shortcuts on one sheet."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from gui.pages.new.step_row import COPY, MOVE_UP
from gui.shell.actions import ACTIONS, MENUS
from gui.widgets.dialog import Dialog

PAGE_KEYS = (
    ("New", f"{MOVE_UP} / Down", "Move a step of a recipe"),
    ("New", COPY, "Duplicate a step of a recipe"),
    ("Queue", "Delete", "Cancel the selected runs"),
    ("Runs", "Return", "Inspect the selected run"),
    ("Runs", "T", "Tag the selected runs"),
    ("Runs", "Delete", "Hide the selected runs"),
    ("Runs", "Ctrl+C", "Copy the selected runs"),
    ("Inspector", "Left / Right", "Previous or next image"),
    ("Models", "Return", "Use the model in a new study"),
    ("Models", "*", "Mark the model as a favourite"),
    ("Models", "Delete", "Delete the model"),
    ("Import", "Ctrl+Return", "Examine and import"),
)


class ShortcutSheet(Dialog):
    """The shortcuts by menu; Escape closes."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keyboard shortcuts")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        columns = QGridLayout(self)
        columns.setContentsMargins(24, 16, 24, 24)
        columns.setHorizontalSpacing(48)
        columns.setVerticalSpacing(16)
        for number, menu in enumerate(MENUS):
            lines = [(a.shortcuts[0], a.text) for a in ACTIONS if a.menu == menu and a.shortcuts]
            columns.addLayout(_block(menu, lines), number // 2, number % 2, _TOP)
        pages = [(keys, f"{page}: {text}") for page, keys, text in PAGE_KEYS]
        columns.addLayout(_block("Pages", pages), len(MENUS) // 2, len(MENUS) % 2, _TOP)


_TOP = Qt.AlignmentFlag.AlignTop


def _block(title: str, lines: list[tuple[str, str]]) -> QVBoxLayout:
    column = QVBoxLayout()
    heading = QLabel(title)
    heading.setProperty("role", "heading")
    column.addWidget(heading)
    grid = QGridLayout()
    grid.setHorizontalSpacing(24)
    grid.setColumnMinimumWidth(0, 96)
    grid.setColumnStretch(1, 1)
    for row, (keys, text) in enumerate(lines):
        key = QLabel(QKeySequence(keys).toString(QKeySequence.SequenceFormat.NativeText) or keys)
        key.setProperty("role", "muted")
        grid.addWidget(key, row, 0)
        grid.addWidget(QLabel(text), row, 1)
    column.addLayout(grid)
    return column
