"""A message that passes by: at the lower right of the window, gone after some seconds."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QWidget

from gui.widgets.message_bar import Message, MessageBar

SHOWN_MS = 8000
_WIDTH = 440
_MARGIN = 16


class Toast(MessageBar):
    """One message over the window; errors with details stay until they are dismissed."""

    def __init__(self, host: QWidget) -> None:
        self._timer = QTimer()
        super().__init__(host)
        self._timer.setParent(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.clear)
        host.installEventFilter(self)

    def show_message(self, message: Message) -> None:
        super().show_message(message)
        self._place()
        self.raise_()
        if message.details:
            self._timer.stop()
        else:
            self._timer.start(SHOWN_MS)

    def clear(self) -> None:
        self._timer.stop()
        super().clear()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self._place()
        return super().eventFilter(watched, event)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:
            self._place()
        return super().event(event)

    def _place(self) -> None:
        host = self.parentWidget()
        width = min(_WIDTH, host.width() - 2 * _MARGIN)
        height = max(self.sizeHint().height(), self.heightForWidth(width))
        left = host.width() - width - _MARGIN
        # Above the status bar, which must stay in sight.
        top = host.height() - height - 48
        self.setGeometry(left, top, width, height)
