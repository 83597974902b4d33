"""The images of a run as a grid of small ones."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QListView, QWidget

from gui.pages.inspector.examples_model import GAP, SIDE

STEPS = {
    Qt.Key.Key_Left: -1,
    Qt.Key.Key_K: -1,
    Qt.Key.Key_Right: 1,
    Qt.Key.Key_J: 1,
}
"""Keys that go to another image, and how far."""


class Thumbnails(QListView):
    """The grid of images; leaves the keys that step through images to the page."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Images")
        self.setProperty("card", True)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setIconSize(QSize(2 * SIDE + GAP, SIDE))
        self.setGridSize(QSize(2 * SIDE + GAP + 16, SIDE + 32))
        self.setMinimumWidth(2 * SIDE + GAP + 48)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in STEPS:
            event.ignore()
        else:
            super().keyPressEvent(event)
