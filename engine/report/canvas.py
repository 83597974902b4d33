"""What the charts share: paper, legend, and colours, markers and dashes of series."""

from __future__ import annotations

import string
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Affine2D

from engine.report.naming import is_flagged
from engine.store import Columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes


WIDTH = 3.5
"""Inches: one column of a two-column paper."""

# The window draws series in the same order of colours, dashes and markers (``gui/base/theme.py``).
# Okabe & Ito 2008, without yellow (too pale for lines on white).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_SERIES = ("o", "s", "^", "D", "v", "*", "p", "P")
_METHODS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", *string.ascii_uppercase)
"""Shapes, and letters where there are more methods than shapes that eyes tell apart."""

BASE_MARKER = "*"

_SHAPES = 11
"""So many methods have a shape; \"P\" and \"X\" are shapes, too, before they are letters."""
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (7, 2)))
_SHARE = "robust accuracy (%)"
_FOOTNOTE = "flagged: no evidence of robustness, see the results"


def new_figure(
    height: float, legend_rows: int, label: str, share_axis: str = "y", share: str = _SHARE
) -> tuple[Figure, Axes]:
    """An empty chart: inches of its plot, and the labels of its axes."""
    figure = Figure(figsize=(WIDTH, height + 0.13 * legend_rows), layout="constrained")
    axes = figure.add_subplot()
    prepare(axes, label, share_axis, share)
    return figure, axes


def prepare(axes: Axes, label: str, share_axis: str = "y", share: str = _SHARE) -> None:
    """A share in percent along one axis, ``label`` along the other, a quiet grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both" if share_axis == "y" else "x", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel(label)
    if share_axis == "y":
        axes.set_ylabel(share)
        axes.set_ylim(0, 100)
    else:
        axes.set_xlim(0, 100)


def log_axis(axes: Axes, low: float, high: float, *, narrow: bool = False) -> None:
    """Make x logarithmic, with plain numbers at its ticks, from ``low`` to ``high``.

    There are fewer of them where the chart is ``narrow``.
    """
    axes.set_xscale("log")
    span = high / low * (5 if narrow else 1)
    digits = (1, 2, 3, 5, 7) if span < 20 else (1, 2, 5) if span < 300 else (1,)
    ticks = [10.0**power * digit for power in range(-4, 13) for digit in digits]
    axes.xaxis.set_major_locator(FixedLocator([t for t in ticks if low / 2 < t < high * 2]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def add_legend(
    figure: Figure,
    handles: Sequence[Any],
    names: Sequence[str],
    rows: Sequence[Columns],
    hollow: str = "hollow",
) -> None:
    """The legend below the axes; its last line explains flagged runs if there are any."""
    if any(is_flagged(row) for row in rows):
        handles = [*handles, Line2D([], [], linestyle="")]
        names = [*names, f"{hollow} = {_FOOTNOTE}"]
    if names:
        figure.legend(handles, names, loc="outside lower center", ncols=1, labelspacing=0.25)


def line_handle(number: int, *, hollow: bool = False) -> Line2D:
    """A line with its marker, for the legend."""
    colour = colour_of(number)
    return Line2D(
        [],
        [],
        color=colour,
        linestyle=dash_of(number),
        marker=marker_of(number),
        mfc="white" if hollow else colour,
    )


def error_bars(rows: Sequence[Columns]) -> list[list[float]]:
    """Lengths of the error bars in percent, below and above; none where no interval is known."""
    below, above = [], []
    for row in rows:
        value = row["robust_accuracy"]
        low = value if row["ci_low"] is None else row["ci_low"]
        high = value if row["ci_high"] is None else row["ci_high"]
        below.append(100 * max(0.0, value - low))
        above.append(100 * max(0.0, high - value))
    return [below, above]


def colour_of(number: int) -> str:
    """The colour of a series."""
    return _COLOURS[number % len(_COLOURS)]


def marker_of(number: int) -> str:
    """The marker of a series, as on screen."""
    return _SERIES[number % len(_SERIES)]


def method_marker(number: int) -> Any:
    """The marker of a method, as on screen: a shape, or the outline of a capital letter."""
    marker = _METHODS[number % len(_METHODS)]
    return letter(marker) if marker in string.ascii_uppercase and number >= _SHAPES else marker


@cache
def letter(text: str) -> Path:
    """A letter as a marker of its own, centred, one high."""
    path = TextPath((0, 0), text, size=1, prop=FontProperties(weight="bold"))
    box = path.get_extents()
    middle = (-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2)
    return path.transformed(Affine2D().translate(*middle).scale(1 / box.height))


def dash_of(number: int) -> Any:
    """The dash of a series, as matplotlib writes it."""
    return _DASHES[number % len(_DASHES)]
