"""Numbers with their names, in two columns."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QWidget


class FiguresPanel(QFrame):
    """A card with one line per number.

    Args:
        names: what each line is called, by key, in order.
        big: the key whose number stands out.
    """

    def __init__(self, names: Mapping[str, str], big: str = "", parent: QWidget | None = None):
        super().__init__(parent)
        self.setProperty("card", True)
        grid = QGridLayout(self)
        grid.setContentsMargins(16, 12, 16, 12)
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 1)
        self.values: dict[str, QLabel] = {}
        for row, (key, name) in enumerate(names.items()):
            label, value = QLabel(name, self), QLabel("-", self)
            label.setProperty("role", "muted")
            value.setAccessibleName(name)
            value.setWordWrap(True)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            value.setProperty("role", "big" if key == big else "value")
            grid.addWidget(label, row, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(value, row, 1)
            self.values[key] = value
        grid.setRowStretch(len(names), 1)

    def tell(self, texts: Mapping[str, str]) -> None:
        """Show these; a line that is not named shows a dash."""
        for key, value in self.values.items():
            text = texts.get(key) or "–"
            if value.text() != text:
                value.setText(text)
