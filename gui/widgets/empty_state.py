"""What a page shows before there is anything to show: why, and the next action."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from gui.base import theme

_ICON = 48


class EmptyState(QWidget):
    """An icon, a sentence and buttons, in the middle of the page.

    Args:
        icon: name of an icon.
        text: why the page is empty.
        buttons: label and action; the first is the one to press.
    """

    def __init__(
        self,
        icon: str,
        text: str,
        buttons: Sequence[tuple[str, Callable[[], None]]] = (),
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("empty")
        self._name = icon
        self._icon = QLabel(self)
        self._icon.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.text = QLabel(text, self)
        self.text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.text.setWordWrap(True)
        self.text.setProperty("role", "muted")
        self.buttons: list[QPushButton] = []
        row = QHBoxLayout()
        row.addStretch()
        for number, (label, action) in enumerate(buttons):
            button = QPushButton(label, self)
            button.setProperty("primary", number == 0)
            button.clicked.connect(lambda _=False, act=action: act())
            self.buttons.append(button)
            row.addWidget(button)
        row.addStretch()
        column = QVBoxLayout(self)
        column.setSpacing(16)
        column.addStretch(2)
        column.addWidget(self._icon)
        column.addWidget(self.text)
        column.addLayout(row)
        column.addStretch(3)
        theme.current().changed.connect(self._recolour)
        self._recolour()

    def _recolour(self) -> None:
        self._icon.setPixmap(theme.icon(self._name, "muted").pixmap(QSize(_ICON, _ICON)))
