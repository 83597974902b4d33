"""Files dragged onto a widget."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication, QWidget


def dropped(target: QWidget, *names: str | Path) -> bool:
    """Drag files over a widget and let them go there; whether they were taken."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(name)) for name in names])
    left, none, copy = (
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.DropAction.CopyAction,
    )
    enter = QDragEnterEvent(QPoint(3, 3), copy, data, left, none)
    drop = QDropEvent(QPointF(3, 3), copy, data, left, none)
    for event in (enter, drop):
        event.ignore()
        QApplication.sendEvent(target, event)
    assert enter.isAccepted() == drop.isAccepted(), "what is offered is taken"
    return drop.isAccepted()
