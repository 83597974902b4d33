"""The line in which runs are filtered, alike on every page."""

from __future__ import annotations

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QWidget

from gui.widgets.inputs import LineEdit
from gui.widgets.run_filter import HELP

_PAUSE_MS = 80


class FilterLine(LineEdit):
    """Takes words and comparisons (see ``run_filter``).

    Signals:
        settled: the text is another one, and nobody types just now; at once with Return.
    """

    settled = Signal(str)

    def __init__(self, example: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Filter")
        self.setPlaceholderText(f"Filter, for example  {example}")
        self.setToolTip(HELP)
        self.setClearButtonEnabled(True)
        self._told = ""
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self.settle)
        self.textChanged.connect(lambda _: self._pause.start())
        self.returnPressed.connect(self.settle)

    def set_now(self, text: str) -> None:
        """Set the text and tell of it at once; nobody types."""
        self.setText(text)
        self.settle()

    def settle(self) -> None:
        """Tell of a text that has not been told of yet."""
        self._pause.stop()
        if self.text() != self._told:
            self._told = self.text()
            self.settled.emit(self._told)
