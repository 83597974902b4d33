"""Charts on screen: pyqtgraph in the colours of the theme, at widths that stay fast."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QPen
from PySide6.QtWidgets import QFrame, QGraphicsItem, QWidget

from gui.base import theme

# pyqtgraph replaces both exception hooks when it is imported; the window has its own.
_hooks = sys.excepthook, threading.excepthook
import pyqtgraph as pg  # noqa: E402
import pyqtgraph.exporters  # noqa: E402

sys.excepthook, threading.excepthook = _hooks

__all__ = ["Band", "Marks", "Plot", "colour_legend", "faint", "line_pen", "pg"]

_TICK_POINTS = 8.5


class Marks(pg.ScatterPlotItem):  # type: ignore[misc]  # pyqtgraph has no types
    """Points as one item, for who fills ``data`` himself, a row for each point."""

    data: Any


class Plot(pg.PlotWidget):  # type: ignore[misc]  # pyqtgraph has no types
    """A chart with labelled axes that follows the theme; double click shows all of it again."""

    def __init__(self, bottom: str, left: str, name: str, parent: QWidget | None = None) -> None:
        # A menu that nobody sees takes a third of the time that a chart takes to make.
        super().__init__(parent, viewBox=pg.ViewBox(enableMenu=False))
        self._titles = {"bottom": bottom, "left": left}
        self.setAccessibleName(name)
        self.setAntialiasing(True)
        self.setMenuEnabled(False)
        self.hideButtons()
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.plotItem.layout.setContentsMargins(8, 8, 16, 8)
        theme.current().changed.connect(self.recolour)
        self.recolour()

    def name_axes(self, bottom: str, left: str) -> None:
        """Give the axes other names; the same ones are not painted again."""
        titles = {"bottom": bottom, "left": left}
        if titles != self._titles:
            self._titles = titles
            self.recolour()

    def recolour(self) -> None:
        """Take over the colours of the theme in force."""
        colours = theme.plot_colours()
        self.setBackground(colours.background)
        font = QFont(self.font())
        font.setPointSizeF(_TICK_POINTS)
        for side, title in self._titles.items():
            axis = self.plotItem.getAxis(side)
            axis.setPen(QColor(colours.grid))
            axis.setTextPen(QColor(colours.foreground))
            axis.setTickFont(font)
            style = {"color": colours.foreground, "font-size": f"{_TICK_POINTS}pt"}
            # Without ranges for prefixes: values below 1 would be shown a thousand times larger.
            axis.setLabel(title, siPrefixEnableRanges=(), **style)
            axis.enableAutoSIPrefix(False)
            # Grid and labels change seldom and cost more to paint than the curves.
            axis.setCacheMode(QGraphicsItem.CacheMode.DeviceCoordinateCache)
        self.showGrid(x=True, y=True, alpha=0.6)

    def step_axis(self, span: int) -> None:
        """Show steps from 0 to ``span`` below; few of them get whole numbers only."""
        self.plotItem.getAxis("bottom").setTickSpacing(levels=[(1, 0)] if span <= 6 else None)
        self.setXRange(0, span, padding=0.03)

    def percent_axis(self) -> None:
        """Show shares in percent on the left, 0 to 100, whatever the data."""
        self.plotItem.getAxis("left").setScale(100)
        self.setYRange(0, 1, padding=0.04)
        self.plotItem.getViewBox().setLimits(yMin=-0.06, yMax=1.06)

    def show_all(self) -> None:
        """Fit the view to the data again."""
        box = self.plotItem.getViewBox()
        box.enableAutoRange(x=True)
        if self.plotItem.getAxis("left").scale == 100:
            self.setYRange(0, 1, padding=0.04)
        else:
            box.enableAutoRange(y=True)

    def mouseDoubleClickEvent(self, event: object) -> None:
        self.show_all()

    def save(self, path: Path) -> None:
        """Write the chart as it is seen: PNG or SVG, by the suffix."""
        kind = pg.exporters.SVGExporter if path.suffix == ".svg" else pg.exporters.ImageExporter
        kind(self.plotItem).export(str(path))


def line_pen(colour: QColor | str, width: float = 1, dash: Qt.PenStyle | None = None) -> QPen:
    """A cosmetic pen; keep the width at 1 for what moves."""
    pen = QPen(QColor(colour))
    pen.setWidthF(width)
    pen.setCosmetic(True)
    pen.setStyle(dash or Qt.PenStyle.SolidLine)
    return pen


def faint(colour: QColor | str, alpha: int = 60) -> QColor:
    """The same colour, see-through."""
    result = QColor(colour)
    result.setAlpha(alpha)
    return result


def colour_legend(legend: pg.LegendItem) -> None:
    """The theme's colours, on a ground through which curves still show: none seems to end there."""
    colours = theme.plot_colours()
    legend.setLabelTextColor(colours.foreground)
    legend.setBrush(pg.mkBrush(faint(colours.background, 130)))


Numbers = Sequence[float] | NDArray[np.float64]


class Band:
    """The area between two curves."""

    def __init__(self, plot: Plot) -> None:
        none = pg.mkPen(None)
        self._low = pg.PlotDataItem(pen=none)
        self._high = pg.PlotDataItem(pen=none)
        self._area = pg.FillBetweenItem(self._low, self._high)
        for item in (self._low, self._high, self._area):
            plot.addItem(item)

    def remove(self, plot: Plot) -> None:
        """Take it out of its chart."""
        for item in (self._area, self._low, self._high):
            plot.removeItem(item)

    def set_data(self, x: Numbers, low: Numbers, high: Numbers) -> None:
        """Move the band."""
        self._low.setData(x, low)
        self._high.setData(x, high)
        # Without points the area would keep the shape it had.
        self._area.setVisible(len(x) > 1)

    def set_colour(self, colour: QColor | str) -> None:
        """Fill it with a see-through shade of the colour."""
        self._area.setBrush(faint(colour, 50))
