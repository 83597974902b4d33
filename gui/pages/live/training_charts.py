"""The charts of the Live page while a step trains: one axis of epochs over all its trainings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gui.base import theme
from gui.pages.live.charts import PartMarks
from gui.pages.live.training_state import Points, Training
from gui.widgets.plots import Plot, colour_legend, line_pen, pg

_MARKED = 60
_LONGEST_NAME = 44


class EpochLine(NamedTuple):
    """One curve: an attribute of ``training.Epoch``, its name, and the number of its style."""

    key: str
    name: str
    style: int


class EpochChart(Plot):
    """Numbers of epochs; a vertical mark names each training where it begins.

    Args:
        left: what the axis says.
        lines: the curves, named in a legend where there are several.
        percent: whether they are shares.
        marked: whether the marks carry names.
    """

    def __init__(
        self, left: str, lines: Sequence[EpochLine], *, percent: bool = False, marked: bool = False
    ) -> None:
        super().__init__("epoch", left, f"{left.capitalize()} by epoch of training")
        if percent:
            self.percent_axis()
        self._lines, self._marked, self._span = tuple(lines), marked, 0
        self._drawn: Training | None = None
        self.legend = self.addLegend(offset=(-12, -12), labelTextSize="8.5pt")
        self.legend.setVisible(len(self._lines) > 1)
        self.marks = PartMarks(self, self.legend)
        self.curves = {line.key: pg.PlotDataItem(symbolSize=5) for line in self._lines}
        for line in self._lines:
            self.addItem(self.curves[line.key])
        self._paint()
        theme.current().changed.connect(self._paint)

    def show_training(self, training: Training) -> None:
        """Move the curves."""
        if training == self._drawn:
            return
        self._drawn = training
        for line in self._lines:
            self._show_line(line, training.runs(line.key))
        span = training.span()
        names = tuple((at, _short(name) if self._marked else "") for at, name in training.marks())
        self.marks.show_parts(names, span)
        if span != self._span:
            self._span = span
            self.step_axis(span)

    def _show_line(self, line: EpochLine, runs: Sequence[Points]) -> None:
        """One training does not run into the next."""
        points = [point for run in runs for point in run]
        ends = np.cumsum([len(run) for run in runs if run], dtype=int) - 1
        joined = np.ones(len(points), np.int32)
        joined[ends] = 0
        x, y = zip(*points, strict=True) if points else ((), ())
        shape = theme.series(line.style).symbol
        self.curves[line.key].setSymbol(shape if 0 < len(points) <= _MARKED else None)
        self.curves[line.key].setData(np.asarray(x, float), np.asarray(y, float), connect=joined)

    def _paint(self) -> None:
        self.marks.paint()
        self.legend.clear()
        colour_legend(self.legend)
        for line in self._lines:
            style, curve = theme.series(line.style), self.curves[line.key]
            curve.setPen(line_pen(style.colour, dash=style.dash))
            curve.setSymbolBrush(style.colour)
            curve.setSymbolPen(None)
            self.legend.addItem(curve, line.name)
        self.marks.place()


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def accuracy_chart() -> EpochChart:
    """Accuracy on held-out training images, clean and under attack."""
    lines = (EpochLine("clean", "clean", 0), EpochLine("robust", "robust (PGD)", 1))
    return EpochChart("validation accuracy (%)", lines, percent=True, marked=True)


def loss_chart() -> EpochChart:
    """Mean loss of the training images."""
    return EpochChart("training loss", (EpochLine("loss", "loss", 2),))


def rate_chart() -> EpochChart:
    """Learning rate of the last step of each epoch."""
    return EpochChart("learning rate", (EpochLine("learning_rate", "learning rate", 3),))
