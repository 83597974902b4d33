"""A titled card whose contents scroll."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QLabel, QScrollArea, QVBoxLayout, QWidget


class Column(QFrame):
    """A card with a heading; add to ``inside``."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.setProperty("card", True)
        heading = QLabel(title)
        heading.setProperty("role", "title")
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scrolled = QWidget()
        scrolled.setObjectName("scrolled")
        self.inside = QVBoxLayout(scrolled)
        self.inside.setContentsMargins(0, 0, 8, 0)
        self.inside.setSpacing(8)
        area.setWidget(scrolled)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 12, 8, 8)
        column.setSpacing(8)
        column.addWidget(heading)
        column.addWidget(area, 1)
