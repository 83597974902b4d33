"""A message over a page, in front of its lists: it comes and goes, and nothing moves."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QRect
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QWidget

from gui.widgets.message_bar import Message, MessageBar

MARGIN = 16
BELOW = 88
"""The last row of a page with its buttons stays free."""


class OverlayBar(MessageBar):
    """Lies above the last row of its host.

    Args:
        host: what it lies in front of.
        most: its width at most; else that of the host.
        below: pixels of the host that stay free below it.
    """

    def __init__(self, host: QWidget, most: int = 0, below: int = BELOW) -> None:
        self._most, self._below = most, below
        super().__init__(host)
        self._host = host
        host.installEventFilter(self)

    def show_message(self, message: Message) -> None:
        super().show_message(message)
        self.place()
        self.raise_()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._move_others()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._move_others()

    def others(self) -> list[OverlayBar]:
        """The other ones in sight in the window."""
        bars = self.window().findChildren(OverlayBar)
        return [bar for bar in bars if bar is not self and bar.isVisible()]

    def _move_others(self) -> None:
        for bar in self.others():
            bar.place()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self.place()
        return super().eventFilter(watched, event)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:
            self.place()
        return super().event(event)

    def place(self) -> None:
        """Lie at the lower right of the host."""
        host = self._host
        width = host.width() - 2 * MARGIN
        width = min(self._most, width) if self._most else width
        height = self.heightForWidth(width)
        height = height if height > 0 else self.sizeHint().height()
        top = max(0, host.height() - height - self._below)
        free = QRect(host.width() - width - MARGIN, top, width, height)
        if free != self.geometry():
            self.setGeometry(free)
            self._move_others()
