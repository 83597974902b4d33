"""Means and spreads of what was repeated over seeds, above the points that they are made from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from PySide6.QtGui import QPainterPath

from gui.pages.compare.cloud import Floats
from gui.pages.compare.layers import Line, Lines, Stroke
from gui.widgets.plots import Marks, Plot, line_pen

_WIDTH = 2
_MEAN, _END = 22, 10


def _dash() -> QPainterPath:
    path = QPainterPath()
    path.moveTo(-0.5, 0)
    path.lineTo(0.5, 0)
    return path


class _Dashes(Marks):
    def mouseClickEvent(self, event: Any) -> None:
        event.ignore()  # what is clicked is the point below


class Spreads:
    """A bar of one standard deviation either way, its ends, and a longer dash at the mean.

    Args:
        plot: where they are drawn.
        height: items of greater ones lie above.
    """

    def __init__(self, plot: Plot, height: float) -> None:
        self.bars, self.dashes = Lines(plot, height, _WIDTH), _Dashes(pxMode=True)
        self.dashes.setZValue(height)
        self._plot = plot

    def show(self, spreads: Iterable[tuple[Stroke, Floats, Floats]]) -> None:
        """Draw these in place of others.

        Args:
            spreads: of each series its stroke, (k,) where they stand, and (3, k) mean, lower and
                upper end.
        """
        lines, spots = [], []
        for stroke, places, ends in spreads:
            pen = line_pen(stroke[0], _WIDTH)
            for x, (mean, low, high) in zip(places.tolist(), ends.T.tolist(), strict=True):
                lines.append(Line(stroke, np.array([x, x]), np.array([low, high])))
                told = ((mean, _MEAN), (low, _END), (high, _END))
                spots += [{"pos": (x, y), "size": size, "pen": pen} for y, size in told]
        self.bars.show(lines)
        if spots and self.dashes.scene() is None:  # most charts have none
            self._plot.addItem(self.dashes)
        self.dashes.setData(spots, symbol=_dash())
