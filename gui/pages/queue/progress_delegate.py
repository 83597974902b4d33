"""A bar in a table cell."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRectF, Qt
from PySide6.QtGui import QPainter, QPen
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from gui.base import theme
from gui.pages.queue.queue_model import SHARE_ROLE

_RADIUS = 3.0


class ProgressDelegate(QStyledItemDelegate):
    """Draws the share of ``SHARE_ROLE`` as a bar with the cell's text over it."""

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        text = index.data(Qt.ItemDataRole.DisplayRole)
        option.widget.style().drawPrimitive(
            option.widget.style().PrimitiveElement.PE_PanelItemViewItem,
            option,
            painter,
            option.widget,
        )
        if not text:
            return
        frame = QRectF(option.rect).adjusted(6.5, 5.5, -6.5, -5.5)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.colour("surface"))
        painter.drawRoundedRect(frame, _RADIUS, _RADIUS)
        done = QRectF(frame)
        done.setWidth(frame.width() * float(index.data(SHARE_ROLE) or 0.0))
        painter.setBrush(theme.colour("progress"))
        painter.drawRoundedRect(done, _RADIUS, _RADIUS)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(theme.colour("border")))
        painter.drawRoundedRect(frame, _RADIUS, _RADIUS)
        painter.setPen(theme.colour("text"))
        painter.drawText(frame, Qt.AlignmentFlag.AlignCenter, text)
        painter.restore()
