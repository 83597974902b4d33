"""The chart of the Compare page: runs as points with error bars, joined to series."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PySide6.QtCore import Qt, Signal

from engine.report.series import Axis, Series, wants_log
from gui.base import theme
from gui.pages.compare.cloud import Floats, cloud_of_series, numbers_of
from gui.pages.compare.layers import Bars, Chosen, Line, Lines, Spots, is_few
from gui.pages.compare.spreads import Spreads
from gui.widgets.plots import Plot


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
        self._chosen: frozenset[int] = frozenset()
        self._axes: tuple[Axis, Axis] | None = None
        self._log = False
        self._ticks: list[float] = []
        self.bars, self.lines = Bars(self), Lines(self, 1)
        self.spots, self.chosen = Spots(self, 2), Chosen(self, 3)
        self.spreads = Spreads(self, 2.5)
        self.spots.picked.connect(self.clicked)
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
        self._paint()
        if moved:
            self.show_all()

    def choose(self, run_ids: Iterable[int]) -> None:
        """Make the points of these runs stand out."""
        self._chosen = frozenset(run_ids)
        if self.spots.cloud is not None:
            self.chosen.show(self.spots.cloud.only(self._chosen))

    def _places(self, x: Floats) -> Floats:
        """(n,) where points stand on the axis."""
        return np.log10(x) if self._log else x

    def _set_ticks(self, x: Floats) -> None:
        ticks: list[float] = []
        if self._log:
            low, high = x.min() / 2, x.max() * 2
            all_ticks = [10.0**power * digit for power in range(-3, 12) for digit in (1, 2, 5)]
            ticks = [tick for tick in all_ticks if low <= tick <= high]
        if ticks != self._ticks:  # an axis is painted anew with them
            self._ticks = ticks
            named = [[(math.log10(tick), f"{tick:,g}") for tick in ticks]]
            self.plotItem.getAxis("bottom").setTicks(named if ticks else None)

    def _paint(self) -> None:
        x = numbers_of(self._series)[0]
        self._set_ticks(x)
        styles = [(one, theme.series(one.number)) for one in self._series]
        symbols = {one.number: style.symbol for one, style in styles}
        cloud = cloud_of_series(
            self._series,
            self._places(x),
            [style.colour for _, style in styles],
            lambda one, method: self._markers.get(method, symbols[one.number]),
        )
        self.bars.show(cloud)
        self.lines.show(
            (
                Line((style.colour, style.dash), self._places(x_of_line), y_of_line)
                for one, style in styles
                for x_of_line, y_of_line in one.line_numbers
            ),
            smooth=is_few(len(x)),
        )
        self.spreads.show(
            ((style.colour, Qt.PenStyle.SolidLine), self._places(told[0]), told[1:])
            for one, style in styles
            if len((told := one.spreads)[0])
        )
        self.spots.show(cloud)
        self.choose(self._chosen)
