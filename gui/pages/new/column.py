"""A titled card whose contents scroll."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QSize, Qt
from PySide6.QtWidgets import QFrame, QLabel, QScrollArea, QVBoxLayout, QWidget


class _Area(QScrollArea):
    """As high as its contents need, if there is room; scrolls where there is not."""

    def sizeHint(self) -> QSize:
        hint = super().sizeHint()
        inside = self.widget()
        if inside is not None:
            width = self.viewport().width()
            hint.setHeight(max(inside.sizeHint().height(), inside.heightForWidth(width)) + 2)
        return hint

    def minimumSizeHint(self) -> QSize:
        hint, inside = super().minimumSizeHint(), self.widget()
        if inside is not None:
            bar = self.verticalScrollBar().sizeHint().width()
            hint.setWidth(inside.minimumSizeHint().width() + bar)
        return hint

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Resize):
            self.updateGeometry()
        return super().eventFilter(watched, event)


class StudyColumn(QFrame):
    """A card with a heading; add to ``inside``, and what does not scroll to ``above``."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.setProperty("card", True)
        heading = QLabel(title)
        heading.setProperty("role", "title")
        self.above = QVBoxLayout()
        self.above.setContentsMargins(0, 0, 8, 0)
        area = self.area = _Area()
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
        scrolled.installEventFilter(area)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 12, 6, 8)
        column.setSpacing(8)
        column.addWidget(heading)
        column.addLayout(self.above)
        column.addWidget(area, 1)
