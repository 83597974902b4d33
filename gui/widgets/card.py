"""A rounded frame around a chart, as other panels have; empty until the chart is made."""

from __future__ import annotations

from typing import TypeVar

from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

W = TypeVar("W", bound=QWidget)


class Card(QFrame):
    """A frame for one chart, which takes longer to make than the window may be kept waiting."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(4, 4, 4, 4)

    def hold(self, chart: W) -> W:
        """Put the chart in; gives it back."""
        self._layout.addWidget(chart)
        chart.show()  # else it would be with the next turn of the event loop
        return chart
