"""Something that costs too much to be done at every change."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer


class Seldom(QObject):
    """Does it at the first change at once, and then once for all that come during a pause.

    Args:
        do: what is to be done.
        pause: milliseconds between two times at least.
    """

    def __init__(self, do: Callable[[], None], pause: int, parent: QObject) -> None:
        super().__init__(parent)
        self._do = do
        self._again = False
        self._timer = QTimer(self, interval=pause, singleShot=True)
        self._timer.timeout.connect(self._rested)

    def ask(self) -> None:
        """Something changed."""
        if self._timer.isActive():
            self._again = True
            return
        self._timer.start()
        self._do()

    def _rested(self) -> None:
        if self._again:
            self._again = False
            self.ask()
