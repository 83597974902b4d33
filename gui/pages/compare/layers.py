"""What charts of many runs are drawn with: an item per style, not one per series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
from PySide6.QtCore import QPointF, Qt, Signal
from PySide6.QtGui import QBrush, QColor, QPen

from gui.base import theme
from gui.pages.compare.cloud import Cloud, Floats
from gui.pages.compare.markers import shape
from gui.widgets.plots import Marks, Plot, faint, line_pen, pg

SIZE, CHOSEN_SIZE = 10, 15
_BAR_ALPHA = 150
_MOST_TIPS = 3
_FEW = 1_000

Stroke = tuple[str, Qt.PenStyle]
"""Colour and dash."""


def is_few(pieces: int) -> bool:
    """Whether there is time for soft edges of so many lines and bars."""
    return pieces <= _FEW


@dataclass(frozen=True)
class Line:
    """A line through points, in the style of its series."""

    stroke: Stroke
    x: Floats
    y: Floats


class Lines:
    """Lines of any number of series, those of one style as one item.

    Args:
        plot: where they are drawn.
        height: items of greater ones lie above.
        width: of the pen.
    """

    def __init__(self, plot: Plot, height: float, width: float = 1) -> None:
        self._plot, self._height, self._width = plot, height, width
        self.items: dict[Stroke, pg.PlotCurveItem] = {}

    def show(self, lines: Iterable[Line], *, smooth: bool = True) -> None:
        """Draw these in place of others; what stays the same is left alone.

        Args:
            lines: each of at least one point.
            smooth: with soft edges and in full width, which thousands of pieces have no time for.
        """
        groups: dict[Stroke, list[Line]] = defaultdict(list)
        for line in lines:
            groups[line.stroke].append(line)
        for stroke in self.items.keys() - groups.keys():
            self._plot.removeItem(self.items.pop(stroke))
        for stroke, group in groups.items():
            pen = line_pen(stroke[0], self._width if smooth else 1, stroke[1])
            if stroke not in self.items:
                self.items[stroke] = _add_curve(self._plot, pen, self._height)
            self.items[stroke].setPen(pen)
            connect = np.ones(sum(len(line.x) for line in group), np.int32)
            connect[np.cumsum([len(line.x) for line in group]) - 1] = 0
            x, y = (np.concatenate([getattr(line, name) for line in group]) for name in "xy")
            _set_curve(self.items[stroke], x, y, connect, smooth=smooth)


class Bars:
    """Error bars of any number of points, those of one colour as one item."""

    def __init__(self, plot: Plot) -> None:
        self._plot = plot
        self.items: dict[str, pg.PlotCurveItem] = {}

    def show(self, cloud: Cloud) -> None:
        """Draw the intervals of these points in place of others."""
        for colour in self.items.keys() - set(cloud.palette):
            self._plot.removeItem(self.items.pop(colour))
        for number, colour in enumerate(cloud.palette):
            if colour not in self.items:
                pen = line_pen(faint(colour, _BAR_ALPHA))
                self.items[colour] = _add_curve(self._plot, pen, 0)
            smooth = is_few(len(cloud.points))
            _set_curve(self.items[colour], *cloud.bars(number), "pairs", smooth=smooth)


def _add_curve(plot: Plot, pen: QPen, height: float) -> pg.PlotCurveItem:
    item = pg.PlotCurveItem(pen=pen, skipFiniteCheck=True)
    item.setZValue(height)
    plot.addItem(item)
    return item


def _set_curve(item: pg.PlotCurveItem, x: Floats, y: Floats, connect: Any, *, smooth: bool) -> None:
    before = (*item.getData(), item.opts["connect"])
    same = all(map(np.array_equal, before, (x, y, connect)))
    if not same or item.opts["antialias"] != smooth:
        item.setData(x, y, connect=connect, antialias=smooth)


class _Marks(Marks):
    """Points of any number of styles as one item; flagged ones are hollow."""

    def __init__(self, plot: Plot, height: float, **options: Any) -> None:
        super().__init__(**options)
        self.setZValue(height)
        self.cloud: Cloud | None = None
        self._kinds: tuple[object, ...] = ()
        self._codes = np.empty(0, np.int64)
        plot.addItem(self)

    def _fill(self, cloud: Cloud, pens: Sequence[QPen], size: int) -> None:
        """Draw these points; a pen for each colour of theirs.

        ``setData`` would look up the style of every point by itself.
        """
        codes = (cloud.symbols * len(pens) + cloud.colours) * 2 + cloud.flagged
        kinds = (cloud.shapes, cloud.palette, pens, size, theme.plot_colours().background)
        if kinds != self._kinds or not np.array_equal(codes, self._codes):
            self._kinds, self._codes = kinds, codes
            self.data = self._styled(cloud, pens, size)
        self.data["sourceRect"][self.data["hovered"]] = 0  # they may lie elsewhere now
        self.data["hovered"] = False
        self.cloud = cloud
        self.data["x"], self.data["y"] = cloud.x, cloud.y
        self.data["data"] = _objects(cloud.points)
        self.bounds = [None, None]
        self.prepareGeometryChange()
        self.informViewBoundsChanged()
        self.updateSpots()
        self.invalidate()
        self.sigPlotChanged.emit(self)

    def _styled(self, cloud: Cloud, pens: Sequence[QPen], size: int) -> Any:
        """A row for each point with all but where it lies; most changes leave these as they are."""
        data: Any = np.empty(len(self._codes), self.data.dtype)
        used, mine = np.unique(self._codes, return_inverse=True)
        styles = [_style(cloud, pens, code) for code in used.tolist()]
        for column, name in enumerate(("symbol", "pen", "brush")):
            data[name] = _objects([style[column] for style in styles])[mine]
        data["size"], data["visible"], data["hovered"] = size, True, False
        if styles:
            atlas = self.fragmentAtlas[[(s, size, pen, brush) for s, pen, brush in styles]]
            data["sourceRect"] = np.array(atlas, data["sourceRect"].dtype)[mine]
        return data


def _objects(values: Sequence[Any]) -> Any:
    """(n,) of objects, whatever they are."""
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _style(cloud: Cloud, pens: Sequence[QPen], code: int) -> tuple[Any, QPen, QBrush]:
    rest, flagged = divmod(code, 2)
    symbol, colour = divmod(rest, len(pens))
    paper = theme.plot_colours().background
    fill = paper if flagged else cloud.palette[colour]
    return shape(cloud.shapes[symbol]), pens[colour], _brush(fill)


# Kept: a sign is painted once for each pen and brush.
@cache
def _pen(colour: str, width: float) -> QPen:
    return line_pen(colour, width)


@cache
def _brush(colour: str) -> QBrush:
    return QBrush(QColor(colour))


class Spots(_Marks):
    """The points of a chart, which can be clicked and pointed at.

    Signals:
        picked: the run id of the point that was clicked.
    """

    picked = Signal(int)

    def __init__(self, plot: Plot, height: float) -> None:
        super().__init__(plot, height, hoverable=True, hoverSize=CHOSEN_SIZE)

    def show(self, cloud: Cloud) -> None:
        """Draw these in place of others, in the colours of the theme in force."""
        self._fill(cloud, [_pen(colour, 1.5) for colour in cloud.palette], SIZE)

    def _at(self, position: QPointF) -> list[int]:
        """The places of the points at a position, the uppermost first."""
        return cast(list[int], np.flatnonzero(self._maskAt(position))[::-1].tolist())

    def mouseClickEvent(self, event: Any) -> None:
        places = self._at(event.pos()) if event.button() == Qt.MouseButton.LeftButton else []
        if places and self.cloud is not None:
            event.accept()
            self.picked.emit(self.cloud.points[places[0]].run_id)
        else:
            event.ignore()

    def hoverEvent(self, event: Any) -> None:
        # Not as in the base class, which makes an object of every point before the first tip.
        places = [] if event.exit else self._at(event.pos())
        before = self.data["hovered"].copy()
        self.data["hovered"] = False
        self.data["hovered"][places] = True
        changed = before ^ self.data["hovered"]
        if changed.any():
            self.data["sourceRect"][changed] = 0
            self.updateSpots()
            self.getViewBox().setToolTip(self._tip(places))

    def _tip(self, places: Sequence[int]) -> str:
        assert self.cloud is not None
        words = [self.cloud.points[place].words for place in places[:_MOST_TIPS]]
        more = len(places) - _MOST_TIPS
        return "\n\n".join([*words, *([f"And {more} more runs."] if more > 0 else [])])


class Chosen(_Marks):
    """The points that stand out, over all others; what is clicked is the point below."""

    def show(self, cloud: Cloud) -> None:
        """Draw these in place of others."""
        ink = _pen(theme.plot_colours().foreground, 2)
        self._fill(cloud, [ink] * len(cloud.palette), CHOSEN_SIZE)

    def mouseClickEvent(self, event: Any) -> None:
        event.ignore()
