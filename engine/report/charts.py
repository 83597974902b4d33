"""Charts of results alone. Series differ by colour and by marker, dash or hatch, for any reader."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from engine.errors import CrumpleError
from engine.report.canvas import (
    WIDTH,
    add_legend,
    colour_of,
    dash_of,
    error_bars,
    line_handle,
    marker_of,
    new_figure,
)
from engine.report.naming import BASE, in_order, is_flagged, method, namer, sweep
from engine.statistics import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]


_BASE_MARKER = "*"
_HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "----")

_MOST_BANDS = 6
_LOG_FROM = 8.0


def pareto(rows: Sequence[Row]) -> Figure:
    """Robust accuracy against compression rate.

    Colour and dash tell model and attack, the marker tells the method. A line joins the base
    model to variants that differ only in degree: between methods there is nothing to interpolate.
    """
    rows = [row for row in rows if row["compression_rate"] is not None]
    if not rows:
        raise CrumpleError(
            "There is nothing to draw: no finished run has a compression rate.",
            "Choose another chart.",
        )
    name = namer(rows, ("model", "attack"))
    names = in_order([name(row) for row in rows])
    methods = in_order([method(row) for row in rows if method(row) != BASE])
    figure, axes = new_figure(2.3, len(names) + len(methods) + 1, "compression rate")
    for number, series in enumerate(names):
        mine = [row for row in rows if name(row) == series]
        _branches(axes, mine, methods, number)
    rates = [row["compression_rate"] for row in rows]
    if max(rates) > _LOG_FROM * min(rates):
        _log_axis(axes, min(rates), max(rates))
    lines = [Line2D([], [], color=colour_of(n), linestyle=dash_of(n)) for n in range(len(names))]
    markers = [_method_handle(marker_of(n)) for n in range(len(methods))]
    base = [_method_handle(_BASE_MARKER)] if any(method(row) == BASE for row in rows) else []
    entries = [*names, *methods, *(["uncompressed"] if base else [])]
    add_legend(figure, [*lines, *markers, *base], entries, rows)
    return figure


def _branches(axes: Axes, rows: Sequence[Row], methods: Sequence[str], number: int) -> None:
    base = [row for row in rows if method(row) == BASE]
    style = {"color": colour_of(number), "linestyle": dash_of(number)}
    for place, one in enumerate(methods):
        mine = [row for row in rows if method(row) == one]
        for degree in in_order([sweep(row) for row in mine]):
            line = [row for row in mine if sweep(row) == degree]
            if len({row["compression_rate"] for row in line}) > 1:
                line = sorted([*base, *line], key=lambda row: row["compression_rate"])
                axes.plot(*_places(line), **style)
        _points(axes, mine, colour_of(number), marker_of(place))
    _points(axes, base, colour_of(number), _BASE_MARKER)


def _points(axes: Axes, rows: Sequence[Row], colour: str, marker: str) -> None:
    for row in rows:
        axes.errorbar(
            *_places([row]),
            yerr=error_bars([row]),
            color=colour,
            elinewidth=0.6,
            marker=marker,
            markersize=6 if marker == _BASE_MARKER else 4,
            mfc="white" if is_flagged(row) else colour,
            zorder=3,
        )


def _places(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    rates = [row["compression_rate"] for row in rows]
    return rates, [100 * row["robust_accuracy"] for row in rows]


def _method_handle(marker: str) -> Line2D:
    size = 6 if marker == _BASE_MARKER else 4
    return Line2D([], [], linestyle="", marker=marker, markersize=size, color="0.35")


def _log_axis(axes: Axes, low: float, high: float) -> None:
    axes.set_xscale("log")
    digits = (1, 2, 3, 5, 7) if high < 20 * low else (1, 2, 5) if high < 300 * low else (1,)
    ticks = [10.0**power * digit for power in range(-3, 7) for digit in digits]
    axes.xaxis.set_major_locator(FixedLocator([t for t in ticks if low / 2 < t < high * 2]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def curve(rows: Sequence[Row], curves: Mapping[int, Sequence[Row]]) -> Figure:
    """Robust accuracy against attack step; a line per run."""
    rows = [row for row in rows if curves.get(row["run_id"])]
    if not rows:
        raise CrumpleError(
            "There is nothing to draw: no chosen run has a curve.", "Choose a finished run."
        )
    name = namer(rows, ("model", "compression", "attack"))
    figure, axes = new_figure(2.3, len(rows), "attack step")
    for number, row in enumerate(rows):
        _curve(axes, row, curves[row["run_id"]], number, band=len(rows) <= _MOST_BANDS)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [line_handle(number, hollow=is_flagged(row)) for number, row in enumerate(rows)]
    add_legend(figure, handles, [name(row) for row in rows], rows)
    return figure


def _curve(axes: Axes, row: Row, points: Sequence[Row], number: int, *, band: bool) -> None:
    steps = [point["step"] for point in points]
    values = [100 * point["robust_accuracy"] for point in points]
    colour = colour_of(number)
    axes.plot(
        steps,
        values,
        color=colour,
        linestyle=dash_of(number),
        marker=marker_of(number),
        markevery=max(1, len(steps) // 6),
        mfc="white" if is_flagged(row) else colour,
    )
    if band:
        # Rounding the share times n gives back the whole number of images it came from.
        counts = [round(point["robust_accuracy"] * row["n"]) for point in points]
        low, high = wilson(counts, row["n"])
        axes.fill_between(steps, 100 * low, 100 * high, color=colour, alpha=0.15, linewidth=0)


def bars(rows: Sequence[Row]) -> Figure:
    """Robust accuracy per variant, one bar per attack."""
    variant = namer(rows, ("model", "compression"))
    cells = {(variant(row), row["attack"]): row for row in rows}
    variants = in_order([key[0] for key in cells])
    attacks = in_order([key[1] for key in cells])
    height = 0.5 + len(variants) * (0.1 + 0.13 * len(attacks))
    figure, axes = new_figure(height, len(attacks), "robust accuracy (%)", share_axis="x")
    thickness = 0.8 / len(attacks)
    for (variant_name, attack_name), row in cells.items():
        number = attacks.index(attack_name)
        offset = (number - (len(attacks) - 1) / 2) * thickness
        place = variants.index(variant_name) + offset
        axes.barh(
            [place],
            [100 * row["robust_accuracy"]],
            height=thickness * 0.9,
            xerr=error_bars([row]),
            error_kw={"elinewidth": 0.6},
            **_bar_style(number, hollow=is_flagged(row)),
        )
    axes.set_yticks(range(len(variants)), variants)
    axes.invert_yaxis()
    add_legend(figure, [Patch(**_bar_style(n)) for n in range(len(attacks))], attacks, rows)
    return figure


def _bar_style(number: int, *, hollow: bool = False) -> dict[str, Any]:
    colour = colour_of(number)
    hatch = "" if hollow else _HATCHES[number % len(_HATCHES)]
    edge = colour if hollow else "white"
    return {"facecolor": "white" if hollow else colour, "edgecolor": edge, "hatch": hatch}


def heatmap(rows: Sequence[Row]) -> Figure:
    """Robust accuracy of every variant under every attack, as numbers on colour."""
    variant = namer(rows, ("model", "compression"))
    cells = {(variant(row), row["attack"]): row for row in rows}
    variants = in_order([key[0] for key in cells])
    attacks = in_order([key[1] for key in cells])
    grid = [[_share(cells.get((v, a))) for a in attacks] for v in variants]
    figure = Figure(figsize=(WIDTH, 0.9 + 0.2 * len(variants)), layout="constrained")
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(grid, cmap="cividis", vmin=0, vmax=100, edgecolors="white", lw=0.6)
    for (variant_name, attack_name), row in cells.items():
        value = 100 * row["robust_accuracy"]
        axes.text(
            attacks.index(attack_name) + 0.5,
            variants.index(variant_name) + 0.5,
            f"({value:.1f})" if is_flagged(row) else f"{value:.1f}",
            ha="center",
            va="center",
            color="white" if value < 55 else "black",
        )
    slanted: dict[str, Any] = {"rotation": 30, "ha": "right"} if sum(map(len, attacks)) > 30 else {}
    axes.set_xticks([n + 0.5 for n in range(len(attacks))], attacks, **slanted)
    axes.set_yticks([n + 0.5 for n in range(len(variants))], variants)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    add_legend(figure, [], [], rows, hollow="(0.0)")
    figure.colorbar(mesh, ax=axes, label="robust accuracy (%)", fraction=0.06)
    return figure


def _share(row: Row | None) -> float:
    return math.nan if row is None else 100 * row["robust_accuracy"]
