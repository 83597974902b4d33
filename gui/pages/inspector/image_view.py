"""A picture with whole-number, nearest-neighbour zoom; several can be linked."""

from __future__ import annotations

from PySide6.QtCore import QObject, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QImage, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QWheelEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from gui.base import theme
from gui.pages.inspector.pixels import fitting_scale

_MOST_ZOOM = 32.0
_STEP = 1.25


class Viewport(QObject):
    """Which part of a picture is seen; shared by linked views.

    Signals:
        changed: zoom or centre moved.
    """

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.zoom = 1.0
        self.centre = QPointF(0.5, 0.5)
        self.views: list[QWidget] = []

    def room(self) -> tuple[int, int]:
        """Width and height that every linked view has: pictures side by side are equally large."""
        return min(view.width() for view in self.views), min(view.height() for view in self.views)

    def zoom_by(self, factor: float) -> None:
        """Zoom in or out; 1 shows the whole picture."""
        self.zoom = min(max(self.zoom * factor, 1.0), _MOST_ZOOM)
        self.move_to(self.centre)

    def move_to(self, centre: QPointF) -> None:
        """Look at a place, in shares of the picture."""
        half = 0.5 / self.zoom
        x = min(max(centre.x(), half), 1 - half)
        y = min(max(centre.y(), half), 1 - half)
        self.centre = QPointF(x, y)
        self.changed.emit()

    def reset(self) -> None:
        """Show the whole picture."""
        self.zoom = 1.0
        self.move_to(QPointF(0.5, 0.5))


class ImageView(QWidget):
    """Shows one picture: wheel or +/- zooms, dragging moves, 0 or double click shows all."""

    def __init__(self, name: str, viewport: Viewport, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewport = viewport
        viewport.views.append(self)
        self.image = QImage()
        self._grabbed: QPointF | None = None
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(96, 96)
        viewport.changed.connect(self.update)
        theme.current().changed.connect(self.update)

    def show_image(self, image: QImage, words: str) -> None:
        """Show a picture; ``words`` describe it to screen readers."""
        self.image = image
        self.setAccessibleDescription(words)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(240, 240)

    def _target(self) -> QRectF:
        """Where the whole picture lies, in pixels of the widget."""
        width, height = self.image.width(), self.image.height()
        scale = fitting_scale(width, height, *self.viewport.room()) * self.viewport.zoom
        centre = self.viewport.centre
        left = self.width() / 2 - centre.x() * width * scale
        top = self.height() / 2 - centre.y() * height * scale
        return QRectF(round(left), round(top), width * scale, height * scale)

    def paintEvent(self, event: QPaintEvent) -> None:
        if self.image.isNull():
            return
        painter = QPainter(self)
        target = self._target()
        shrinks = target.width() < self.image.width()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, shrinks)
        painter.drawImage(target, self.image)
        frame = target.intersected(QRectF(self.rect())).adjusted(0, 0, -1, -1)
        painter.setPen(theme.colour("accent" if self.hasFocus() else "border"))
        painter.drawRect(frame)
        painter.end()

    def wheelEvent(self, event: QWheelEvent) -> None:
        self.viewport.zoom_by(_STEP if event.angleDelta().y() > 0 else 1 / _STEP)
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._grabbed = event.position()
        self.setFocus(Qt.FocusReason.MouseFocusReason)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._grabbed is None or self.image.isNull():
            return
        moved, target = event.position() - self._grabbed, self._target()
        self._grabbed = event.position()
        share = QPointF(moved.x() / target.width(), moved.y() / target.height())
        self.viewport.move_to(self.viewport.centre - share)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._grabbed = None

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self.viewport.reset()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self.viewport.zoom_by(_STEP)
        elif event.key() == Qt.Key.Key_Minus:
            self.viewport.zoom_by(1 / _STEP)
        elif event.key() == Qt.Key.Key_0:
            self.viewport.reset()
        else:
            super().keyPressEvent(event)
