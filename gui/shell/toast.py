"""A message that passes by: at the lower right of the window, gone after some seconds."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QRect, QTimer
from PySide6.QtWidgets import QWidget

from gui.widgets.message_bar import Message
from gui.widgets.overlay_bar import BELOW, OverlayBar

SHOWN_MS = 8000
_WIDTH = 440
_STATUS_BAR = 36
_GAP = 8


class Toast(OverlayBar):
    """One message over the window; errors with details stay until they are dismissed."""

    def __init__(self, host: QWidget) -> None:
        self._timer = QTimer()
        super().__init__(host, _WIDTH, BELOW + _STATUS_BAR)
        self._timer.setParent(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.clear)

    def show_message(self, message: Message) -> None:
        super().show_message(message)
        if message.details:
            self._timer.stop()
        else:
            self._timer.start(SHOWN_MS)

    def place(self) -> None:
        """Lie above what the page has to say, if that is there."""
        super().place()
        for bar in self.others():
            below = QRect(bar.mapTo(self._host, QPoint()), bar.size())
            if below.intersects(self.geometry()):
                self.move(self.x(), max(0, below.top() - self.height() - _GAP))

    def clear(self) -> None:
        self._timer.stop()
        super().clear()
