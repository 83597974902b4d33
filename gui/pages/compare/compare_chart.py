"""The chart of the Compare page: runs as points with error bars, joined to series."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QIcon, QPainter, QPainterPath, QPixmap, QTransform

from engine.report.series import Axis, Point, Series, wants_log
from gui.base import theme
from gui.widgets.plots import Plot, faint, line_pen, pg

_SIZE = 10
_CHOSEN_SIZE = 15
_ICON = QSize(40, 16)


class CompareChart(Plot):
    """Points that can be pointed at and clicked; flagged runs are hollow.

    Signals:
        clicked: the run id of the point that was clicked.
    """

    clicked = Signal(int)

    def __init__(self) -> None:
        super().__init__("", "", "Chart of the compared runs")
        self.percent_axis()
        self._series: tuple[Series, ...] = ()
        self._markers: dict[str, str] = {}
        self._chosen: set[int] = set()
        self._axes: tuple[Axis, Axis] | None = None
        self._log = False
        self.scatters: list[pg.ScatterPlotItem] = []
        theme.current().changed.connect(self._paint)

    def show_series(
        self, series: Sequence[Series], x: Axis, y: Axis, markers: Mapping[str, str] | None = None
    ) -> None:
        """Replace what is drawn.

        Args:
            series: what to draw.
            x: the axis to the right.
            y: the axis upwards.
            markers: symbol by method of a point; others have the symbol of their series.
        """
        moved = (x, y) != self._axes
        self._markers = dict(markers or {})
        self._series, self._axes = tuple(series), (x, y)
        self._log = wants_log(series)
        self.name_axes(x.title, y.title)
        self._set_ticks()
        self._paint()
        if moved:
            self.show_all()

    def choose(self, run_ids: Iterable[int]) -> None:
        """Make the points of these runs stand out."""
        if set(run_ids) != self._chosen:
            self._chosen = set(run_ids)
            self._paint()

    def _place(self, x: float) -> float:
        return math.log10(x) if self._log else x

    def _set_ticks(self) -> None:
        axis = self.plotItem.getAxis("bottom")
        if not self._log:
            axis.setTicks(None)
            return
        values = [point.x for series in self._series for point in series.points]
        all_ticks = [10.0**power * digit for power in range(-3, 12) for digit in (1, 2, 5)]
        ticks = [tick for tick in all_ticks if min(values) / 2 <= tick <= max(values) * 2]
        axis.setTicks([[(math.log10(tick), f"{tick:,g}") for tick in ticks]])

    def _paint(self) -> None:
        self.plotItem.clear()
        self.scatters = []
        for series in self._series:
            self._paint_one(series)

    def _paint_one(self, series: Series) -> None:
        style = theme.series(series.number)
        x = np.array([self._place(point.x) for point in series.points])
        y = np.array([point.y for point in series.points])
        bars = pg.ErrorBarItem(
            x=x,
            y=y,
            top=np.array([point.high for point in series.points]) - y,
            bottom=y - np.array([point.low for point in series.points]),
            beam=0,
            pen=line_pen(faint(style.colour, 150)),
        )
        self.addItem(bars)
        pen = line_pen(style.colour, dash=style.dash)
        for line in series.lines():
            places = [self._place(point.x) for point in line]
            self.addItem(pg.PlotDataItem(places, [point.y for point in line], pen=pen))
        scatter = pg.ScatterPlotItem(hoverable=True, hoverSize=_CHOSEN_SIZE, tip=_tip)
        scatter.addPoints([self._spot(point, style) for point in series.points])
        scatter.sigClicked.connect(self._on_click)
        self.addItem(scatter)
        self.scatters.append(scatter)

    def _spot(self, point: Point, style: theme.SeriesStyle) -> dict[str, Any]:
        chosen = point.run_id in self._chosen
        paper = theme.plot_colours().background
        ink = theme.plot_colours().foreground
        return {
            "pos": (self._place(point.x), point.y),
            "size": _CHOSEN_SIZE if chosen else _SIZE,
            "symbol": shape(self._markers.get(point.method, style.symbol)),
            "pen": line_pen(ink if chosen else style.colour, 2 if chosen else 1.5),
            "brush": QColor(paper if point.flagged else style.colour),
            "data": point,
        }

    def _on_click(self, _item: object, spots: Sequence[Any], _event: object = None) -> None:
        if len(spots):
            self.clicked.emit(spots[0].data().run_id)


def _tip(x: float, y: float, data: Point) -> str:
    return data.words


def series_icon(number: int, *, marker: bool = True) -> QIcon:
    """A short piece of the line with its marker, if it has one, as it is drawn."""
    style = theme.series(number)

    def draw(painter: QPainter) -> None:
        painter.setPen(line_pen(style.colour, 1.4, style.dash))
        painter.drawLine(1, 8, 39, 8)
        if marker:
            _draw_symbol(painter, style.symbol, style.colour)

    return _icon(draw)


def marker_icon(symbol: str) -> QIcon:
    """A marker alone, in the colour of text."""
    ink = theme.plot_colours().foreground
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
