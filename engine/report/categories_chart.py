"""How each category of compression changes clean and robust accuracy, along the rate it reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from engine.errors import CrumpleError
from engine.report.canvas import WIDTH, add_legend, colour_of, dash_of, log_axis, marker_of
from engine.report.category_changes import Change
from engine.report.identity import context_key, family, grouped
from engine.report.naming import in_order, is_flagged, known
from engine.statistics.intervals import PairedDifference
from engine.store import ResultRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOG_FROM = 8.0


def categories(changes: Sequence[Change]) -> Figure:
    """Points of clean accuracy and of worst case that a variant differs from its base model by.

    Bars are 95 % intervals of paired differences; a line, with their band, joins variants of one
    model that differ only in degree.

    Args:
        changes: what each variant changes; those without a rate are left out.

    Raises:
        CrumpleError: there is none.
    """
    changes = [one for one in changes if one.row["compression_rate"] is not None]
    if not changes:
        raise CrumpleError(
            "There is nothing to draw: no variant has its base model under the same eps beside it.",
            "Finish the runs of the base model, under attacks with an eps.",
        )
    names = in_order([one.category.words for one in changes])
    figure = Figure(figsize=(WIDTH, 3.6 + 0.13 * len(names)), layout="constrained")
    clean, robust = figure.subplots(2, 1, sharex=True)
    for axes, column in ((clean, "clean"), (robust, "robust")):
        _prepare(axes, f"change of {column} accuracy (points)")
        for line in _lines(changes):
            _draw(axes, line, names.index(line[0].category.words), column)
    robust.set_xlabel("compression rate")
    rates = list(map(_rate, changes))
    if max(rates) > _LOG_FROM * min(rates):
        log_axis(robust, min(rates), max(rates))
    handles = [Line2D([], [], **_style(n), linestyle=dash_of(n)) for n in range(len(names))]
    add_legend(figure, handles, names, [one.row for one in changes])
    return figure


def _prepare(axes: Axes, label: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.axhline(0, color="0.35", linewidth=0.6)
    axes.set_ylabel(label, fontsize=6)


def _lines(changes: Sequence[Change]) -> list[list[Change]]:
    """Changes that a line may join, each in order of the rate."""

    def degree(row: ResultRow) -> str:
        return f"{context_key(row)} {row['model']} {row['norm']} {row['eps']} {family(row)}"

    by_run = {one.row["run_id"]: one for one in changes}
    groups = grouped([one.row for one in changes], degree).values()
    lines = [[by_run[row["run_id"]] for row in rows] for rows in groups]
    return [sorted(line, key=_rate) for line in lines]


def _rate(one: Change) -> float:
    return known(one.row["compression_rate"])


def _draw(axes: Axes, line: Sequence[Change], number: int, column: str) -> None:
    found: list[PairedDifference] = [getattr(one, column) for one in line]
    x = list(map(_rate, line))
    style = _style(number)
    if len(line) > 1:
        axes.plot(x, [100 * one.difference for one in found], color=style["color"],
                  linestyle=dash_of(number))  # fmt: skip
        low, high = ([100 * getattr(one, end) for one in found] for end in ("low", "high"))
        axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    for place, one, own in zip(x, found, line, strict=True):
        ends = [[100 * (one.difference - one.low)], [100 * (one.high - one.difference)]]
        face = "white" if is_flagged(own.row) else style["color"]
        axes.errorbar([place], [100 * one.difference], yerr=ends, elinewidth=0.6, mfc=face,
                      zorder=3, **style)  # fmt: skip


def _style(number: int) -> dict[str, Any]:
    return {"color": colour_of(number), "marker": marker_of(number), "markersize": 4}
