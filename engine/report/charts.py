"""Charts of results alone. Series differ by colour and by marker, dash or hatch, for any reader."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from engine.catalog import format_number
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
from engine.report.identity import (
    Key,
    attack_key,
    context_key,
    grouped,
    names,
    threat_key,
    variant_key,
)
from engine.report.naming import is_flagged, known, namer
from engine.statistics.intervals import wilson
from engine.store import CurveRow, ResultRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "----")

_MOST_BANDS = 6


def curve(rows: Sequence[ResultRow], curves: Mapping[int, Sequence[CurveRow]]) -> Figure:
    """Robust accuracy against attack step; a line per run."""
    rows = [row for row in rows if curves.get(row["run_id"])]
    if not rows:
        raise CrumpleError(
            "There is nothing to draw: no chosen run has a curve.", "Choose a finished run."
        )
    title = names(rows, _run_key, namer(rows, ("model", "compression", "attack")))
    figure, axes = new_figure(2.3, len(rows), "attack step")
    for number, row in enumerate(rows):
        _curve(axes, row, curves[row["run_id"]], number, band=len(rows) <= _MOST_BANDS)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [line_handle(number, hollow=is_flagged(row)) for number, row in enumerate(rows)]
    add_legend(figure, handles, [title[_run_key(row)] for row in rows], rows)
    return figure


def _run_key(row: ResultRow) -> Key:
    return f"{context_key(row)} {variant_key(row)} {attack_key(row)}"


def _curve(
    axes: Axes, row: ResultRow, points: Sequence[CurveRow], number: int, *, band: bool
) -> None:
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
        n = known(row["n"])
        counts = [round(point["robust_accuracy"] * n) for point in points]
        low, high = wilson(counts, n)
        axes.fill_between(steps, 100 * low, 100 * high, color=colour, alpha=0.15, linewidth=0)


def _with_worst_cases(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """The rows, and one more for each variant in each ball that says more than they do.

    Every attack is an upper bound alone; what survives all that is stored is the figure to quote.
    """
    found = list(rows)
    balls = {(row["norm"], row["eps"]) for row in rows if row["worst_case"] is not None}
    for group in grouped(rows, threat_key).values():
        row = min(group, key=lambda one: known(one["robust_accuracy"]))
        share = row["worst_case"]
        if share is None or (len(group) == 1 and share == row["robust_accuracy"]):
            continue
        low, high = wilson(round(share * known(row["n"])), known(row["n"]))
        ball = f" {row['norm']} {format_number(known(row['eps']))}" if len(balls) > 1 else ""
        attack = {"name": "worst case", "params": {"eps": row["eps"]}}
        more: Any = {
            **row,
            "attack": f"worst case{ball}",
            "robust_accuracy": share,
            "ci_low": float(low),
            "ci_high": float(high),
            "flags": [],
        }
        if "spec" in row:
            more["spec"] = {**row["spec"], "attack": attack}
        found.append(more)
    return found


def _grid(
    rows: Sequence[ResultRow],
) -> tuple[dict[tuple[str, str], ResultRow], list[str], list[str]]:
    """The runs by variant and attack, and the names of both in order."""

    def variant(row: ResultRow) -> Key:
        return f"{context_key(row)} {variant_key(row)}"

    variants = names(rows, variant, namer(rows, ("model", "compression")))
    attacks = names(rows, attack_key, lambda row: str(row["attack"]))
    cells = {(variants[variant(row)], attacks[attack_key(row)]): row for row in rows}
    return cells, list(variants.values()), list(attacks.values())


def bars(rows: Sequence[ResultRow]) -> Figure:
    """Robust accuracy per variant, one bar per attack, and one for the worst case of all."""
    rows = _with_worst_cases(rows)
    cells, variants, attacks = _grid(rows)
    height = 0.5 + len(variants) * (0.1 + 0.13 * len(attacks))
    figure, axes = new_figure(height, len(attacks), "robust accuracy (%)", share_axis="x")
    thickness = 0.8 / len(attacks)
    for (variant_name, attack_name), row in cells.items():
        number = attacks.index(attack_name)
        offset = (number - (len(attacks) - 1) / 2) * thickness
        place = variants.index(variant_name) + offset
        axes.barh(
            [place],
            [_share(row)],
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


def heatmap(rows: Sequence[ResultRow]) -> Figure:
    """Robust accuracy of every variant under every attack and in the worst case, as numbers."""
    rows = _with_worst_cases(rows)
    cells, variants, attacks = _grid(rows)
    grid = [[_share(cells.get((v, a))) for a in attacks] for v in variants]
    figure = Figure(figsize=(WIDTH, 0.9 + 0.2 * len(variants)), layout="constrained")
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(grid, cmap="cividis", vmin=0, vmax=100, edgecolors="white", lw=0.6)
    for (variant_name, attack_name), row in cells.items():
        value = _share(row)
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


def _share(row: ResultRow | None) -> float:
    return math.nan if row is None else 100 * known(row["robust_accuracy"])
