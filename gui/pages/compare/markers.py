"""The signs of series and methods: in the chart, and small in its legend."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFont, QIcon, QPainter, QPainterPath, QPixmap, QTransform

from gui.base import theme
from gui.widgets.plots import line_pen, pg

_ICON = QSize(40, 16)


def series_icon(number: int, *, marker: bool = True) -> QIcon:
    """A short piece of the line with its marker, if it has one, as it is drawn."""
    return _line_icon(theme.series(number), marker)


@cache
def _line_icon(style: theme.SeriesStyle, marker: bool) -> QIcon:
    def draw(painter: QPainter) -> None:
        painter.setPen(line_pen(style.colour, 1.4, style.dash))
        painter.drawLine(1, 8, 39, 8)
        if marker:
            _draw_symbol(painter, style.symbol, style.colour)

    return _icon(draw)


def marker_icon(symbol: str) -> QIcon:
    """A marker alone, in the colour of text."""
    return _marker_icon(symbol, theme.plot_colours().foreground)


@cache
def _marker_icon(symbol: str, ink: str) -> QIcon:
    return _icon(lambda painter: _draw_symbol(painter, symbol, ink))


def _icon(draw: Callable[[QPainter], None]) -> QIcon:
    pixmap = QPixmap(_ICON)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    draw(painter)
    painter.end()
    return QIcon(pixmap)


def _draw_symbol(painter: QPainter, symbol: str, colour: str) -> None:
    painter.translate(_ICON.width() / 2, _ICON.height() / 2)
    pen, brush = pg.mkPen(colour), pg.mkBrush(colour)
    pg.graphicsItems.ScatterPlotItem.drawSymbol(painter, shape(symbol), 9, pen, brush)


@cache
def shape(symbol: str) -> str | QPainterPath:
    """What pyqtgraph draws for a marker: a symbol of its own, or the outline of a capital."""
    if not symbol.isupper():
        return symbol
    path = QPainterPath()
    font = QFont()
    font.setBold(True)
    path.addText(0, 0, font, symbol)
    box = path.boundingRect()
    unit = QTransform.fromScale(1 / box.height(), 1 / box.height())
    return unit.map(path.translated(-box.center()))
