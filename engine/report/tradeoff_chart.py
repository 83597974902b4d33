"""The trade-off for print: runs as points in series, along the axes that are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from engine.errors import CrumpleError
from engine.report.canvas import (
    BASE_MARKER,
    add_legend,
    colour_of,
    dash_of,
    log_axis,
    marker_of,
    method_marker,
    new_figure,
)
from engine.report.naming import BASE
from engine.report.series import (
    X_AXES,
    Y_AXES,
    Axis,
    Point,
    Series,
    methods_of,
    series_of,
    wants_log,
)
from engine.store import ResultRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def tradeoff(rows: Sequence[ResultRow], x: Axis = X_AXES[0], y: Axis = Y_AXES[0]) -> Figure:
    """A share against what compression saved, or against eps.

    Colour and dash tell the series, the marker tells the method, or the series where there is
    but one method. A line joins the base model to variants that differ only in degree: between
    methods there is nothing to interpolate.
    """
    series = series_of(rows, x, y)
    if not series:
        named = f"{'an' if x.title[0] in 'aeio' else 'a'} {x.title}"
        raise CrumpleError(
            f"There is nothing to draw: no finished run has {named} and {y.title}.",
            "Choose another chart.",
        )
    methods = methods_of(series, x)
    markers = {one: method_marker(n) for n, one in enumerate(methods)} | {BASE: BASE_MARKER}
    markers = markers if methods else {}
    legend = len(series) + len(methods) + 1
    figure, axes = new_figure(2.3, legend, x.title, share=y.title)
    for one in series:
        _series(axes, one, markers)
    if wants_log(series):
        values = [point.x for one in series for point in one.points]
        log_axis(axes, min(values), max(values))
    handles = [_line_handle(one, marked=not methods) for one in series]
    handles += [_marker_handle(markers[one]) for one in methods]
    words = ["uncompressed" if one == BASE else one for one in methods]
    drawn = {point.run_id for one in series for point in one.points}
    flagged = [row for row in rows if row["run_id"] in drawn]
    add_legend(figure, handles, [*(one.name for one in series), *words], flagged)
    return figure


def _series(axes: Axes, series: Series, markers: Mapping[str, Any]) -> None:
    style = {"color": colour_of(series.number), "linestyle": dash_of(series.number)}
    for x, shares in series.line_numbers:
        axes.plot(x, 100 * shares, **style)
    for point, (_, y, low, high, _) in zip(series.points, series.numbers.T, strict=True):
        marker = markers.get(point.method, marker_of(series.number))
        _point(axes, point, (100 * (y - low), 100 * (high - y)), series.number, marker)
    for x, mean, below, _ in series.spreads.T:
        _spread(axes, x, 100 * mean, 100 * (mean - below), colour_of(series.number))


def _spread(axes: Axes, x: float, mean: float, deviation: float, colour: str) -> None:
    """The mean of repeats as a dash, and a deviation either way with caps."""
    axes.errorbar(
        [x],
        [mean],
        yerr=[deviation],
        color=colour,
        elinewidth=1.2,
        capsize=2.5,
        capthick=1.2,
        marker="_",
        markersize=9,
        markeredgewidth=1.6,
        zorder=4,
    )


def _point(axes: Axes, point: Point, reach: tuple[float, float], number: int, marker: Any) -> None:
    colour = colour_of(number)
    below, above = reach
    axes.errorbar(
        [point.x],
        [100 * point.y],
        yerr=[[max(0.0, below)], [max(0.0, above)]],
        color=colour,
        elinewidth=0.6,
        marker=marker,
        markersize=_size(marker),
        mfc="white" if point.flagged else colour,
        zorder=3,
    )


def _size(marker: Any) -> float:
    return 4 if isinstance(marker, str) and marker != BASE_MARKER else 6


def _line_handle(series: Series, *, marked: bool) -> Line2D:
    number = series.number
    marker = marker_of(number) if marked else ""
    size = _size(marker)
    style = {"color": colour_of(number), "linestyle": dash_of(number)}
    return Line2D([], [], marker=marker, markersize=size, **style)


def _marker_handle(marker: Any) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, markersize=_size(marker), color="0.35")
