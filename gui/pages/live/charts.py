"""The three charts of the Live page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PySide6.QtCore import Qt

from gui.base import theme
from gui.pages.live.state import Earlier, LiveState
from gui.pages.live.training_state import Marks, Points
from gui.widgets.plots import Band, Plot, colour_legend, faint, line_pen, pg

_MARKED = 60
_MARGIN, _NAME_GAP, _HIGHEST_NAME = 14, 18, 0.95
"""Pixels around a legend, and from the name of one part to the next; a share of the height."""
_LATE = 0.6


def _columns(points: Points) -> tuple[np.ndarray, np.ndarray]:
    """The points as x and y."""
    x, y = zip(*points, strict=True) if points else ((), ())
    return np.asarray(x, float), np.asarray(y, float)


class PartMarks:
    """Vertical lines where the attacks of a row begin, with their names.

    The names stand one below the other, as the first parts may be short beside the last, and
    above the legend at the lower edge.

    Args:
        plot: to be marked.
        legend: of the plot.
    """

    def __init__(self, plot: Plot, legend: pg.LegendItem) -> None:
        self._plot, self._legend, self.lines = plot, legend, list[pg.InfiniteLine]()
        self.parts: Marks = ()
        self._span = 0
        plot.plotItem.getViewBox().sigResized.connect(self.place)

    def show_parts(self, parts: Marks, span: int = 0) -> None:
        """Mark these (see ``LiveState``); names near the end of the axis stand left of theirs."""
        if (parts, span) != (self.parts, self._span):
            self.parts, self._span = parts, span
            self.paint()

    def paint(self) -> None:
        """Draw the marks in the colours of the theme in force."""
        for line in self.lines:
            self._plot.removeItem(line)
        ink = theme.plot_colours().foreground
        self.lines = []
        for step, name in self.parts:
            side = 1 if self._span and step > _LATE * self._span else 0
            label = {
                "anchors": [(side, 0.5), (side, 0.5)],
                "color": ink,
                "fill": faint(theme.plot_colours().background, 200),
            }
            pen = line_pen(faint(ink, 150), dash=Qt.PenStyle.DotLine)
            line = pg.InfiniteLine(step, pen=pen, label=name, labelOpts=label)
            self._plot.addItem(line, ignoreBounds=True)
            self.lines.append(line)
        self.place()

    def place(self, *_: object) -> None:
        """Put the names above the legend; ask again when its height has changed."""
        height = max(self._plot.plotItem.getViewBox().height(), 1.0)
        below = self._legend.height() + _MARGIN if self._legend.isVisible() else 0.0
        lowest = min((below + _MARGIN) / height, _HIGHEST_NAME)
        above = max(len(self.lines) - 1, 1)
        gap = min(_NAME_GAP / height, (_HIGHEST_NAME - lowest) / above)
        for number, line in enumerate(reversed(self.lines)):
            line.label.setPosition(lowest + gap * number)


class CurveChart(Plot):
    """Robust accuracy against attack step, with earlier runs faintly behind."""

    def __init__(self) -> None:
        super().__init__("attack step", "robust accuracy (%)", "Robust accuracy by attack step")
        self.percent_axis()
        self.legend = self.addLegend(offset=(12, -12), labelTextSize="8.5pt")
        self._behind: list[pg.PlotDataItem] = []
        self._earlier: tuple[Earlier, ...] = ()
        self._name = ""
        self._span = 0
        self.marks = PartMarks(self, self.legend)
        self.line = pg.PlotDataItem(symbolSize=5, symbol="o")
        self.line.setZValue(10)
        self.addItem(self.line)
        self._paint()
        theme.current().changed.connect(self._paint)

    def set_earlier(self, name: str, earlier: Sequence[Earlier]) -> None:
        """Name the run and replace what is drawn behind it."""
        if (name, tuple(earlier)) == (self._name, self._earlier):
            return
        self._name, self._earlier = name, tuple(earlier)
        self._paint()

    def show_state(self, state: LiveState | None) -> None:
        """Move the curve."""
        curve = state.curve if state else ()
        # Markers help while points are few and cost time when they are many.
        self.line.setSymbol("o" if 0 < len(curve) <= _MARKED else None)
        self.line.setData(*_columns(curve))
        self.marks.show_parts(state.parts if state else ())
        # A fixed axis that the curve grows into is calmer, and cheaper, than one that follows.
        span = max(
            [state.span() if state else 1, *(e.curve[-1][0] for e in self._earlier if e.curve)]
        )
        if span != self._span:
            self._span = span
            self.step_axis(span)

    def _paint(self) -> None:
        self.marks.paint()
        for item in self._behind:
            self.removeItem(item)
        self.legend.clear()
        colour = theme.colour("accent")
        self.line.setPen(line_pen(colour))
        self.line.setSymbolBrush(colour)
        self.line.setSymbolPen(None)
        colour_legend(self.legend)
        if self._name:
            self.legend.addItem(self.line, self._name)
        self._behind = [self._add(earlier) for earlier in self._earlier]
        others = [
            i
            for i, earlier in zip(self._behind, self._earlier, strict=True)
            if not earlier.baseline
        ]
        for item, earlier in zip(self._behind, self._earlier, strict=True):
            if earlier.baseline:
                self.legend.addItem(item, earlier.name)
        if others:
            self.legend.addItem(others[0], "other variants, same attack")
        self.marks.place()

    def _add(self, earlier: Earlier) -> pg.PlotDataItem:
        ink = theme.plot_colours().foreground
        if earlier.baseline:
            pen = line_pen(faint(ink, 190), dash=Qt.PenStyle.DashLine)
        else:
            pen = line_pen(faint(ink, 80))
        item = pg.PlotDataItem(*_columns(earlier.curve), pen=pen)
        self.addItem(item)
        return item


class HistoryChart(Plot):
    """Robust accuracy against images done, with its 95 % interval."""

    def __init__(self) -> None:
        super().__init__("images done", "robust accuracy (%)", "Robust accuracy by images done")
        self.percent_axis()
        self._drawn: object = ()
        self.band = Band(self)
        self.line = pg.PlotDataItem(symbolSize=5)
        self.addItem(self.line)
        self._paint()
        theme.current().changed.connect(self._paint)

    def show_state(self, state: LiveState | None) -> None:
        """Move line and band."""
        drawn = (state.run_id, state.total, state.history) if state else None
        if drawn == self._drawn:
            return
        self._drawn = drawn
        done, middle, low, high = state.band() if state else ([], [], [], [])
        self.band.set_data(done, low, high)
        # The first batches alone make no line yet.
        self.line.setSymbol("o" if 0 < len(done) <= _MARKED else None)
        self.line.setData(done, middle)
        self.setXRange(0, max(state.total, 1) if state else 1, padding=0.02)

    def _paint(self) -> None:
        self.line.setPen(line_pen(theme.colour("accent")))
        self.line.setSymbolBrush(theme.colour("accent"))
        self.line.setSymbolPen(None)
        self.band.set_colour(theme.colour("accent"))


class LossChart(Plot):
    """Mean loss against attack step."""

    def __init__(self) -> None:
        super().__init__("attack step", "mean loss", "Loss by attack step")
        self._span = 0
        self.line = pg.PlotDataItem()
        self.addItem(self.line)
        self._paint()
        theme.current().changed.connect(self._paint)

    def show_state(self, state: LiveState | None) -> None:
        """Move the line."""
        self.line.setData(*_columns(state.loss if state else ()))
        span = state.span() if state else 1
        if span != self._span:
            self._span = span
            self.step_axis(span)

    def _paint(self) -> None:
        self.line.setPen(line_pen(theme.series(1).colour))
