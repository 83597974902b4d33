"""The chart of security curves: a panel per norm, a line with its band per run."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from engine.errors import CrumpleError
from engine.report.canvas import (
    WIDTH,
    add_legend,
    colour_of,
    dash_of,
    error_bars,
    marker_of,
    prepare,
)
from engine.report.identity import attack_name
from engine.report.naming import in_order, is_flagged, known
from engine.report.security import CheckedRun, Panel, Samples, SecurityLine, panels
from engine.store import ResultRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RING = "curve too optimistic there (paired McNemar, p < 0.05)"
_CAPTION, _MOST_DOUBTS = 74, 6


def security(rows: Sequence[ResultRow], samples: Samples) -> Figure:
    """Robust accuracy against eps, with 95 % Wilson bands and the points that check it.

    Colour and dash tell the curve, the marker of a point its attack. A ring marks a point
    that lies significantly below its curve; the sentences below the legend say which.
    """
    found = panels(rows, samples)
    if not found:
        raise CrumpleError(
            "There is nothing to draw: no chosen run has distances.",
            "Add a minimum-norm attack such as fmn, ddn, cw-l2 or deepfool to the study.",
        )
    attacks = in_order([name for panel in found for name in panel.attacks])
    doubts = _doubts([text for panel in found for line in panel.lines for text in line.doubts()])
    handles, names = _legend(found, attacks)
    height = 2.1 * len(found) + 0.13 * (len(names) + len(doubts) + 1)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    every = figure.subplots(len(found), squeeze=False)[:, 0]
    for axes, panel in zip(every, found, strict=True):
        _panel(axes, panel, attacks)
    handles += [Line2D([], [], linestyle="") for _ in doubts]
    drawn = [row for panel in found for row in panel.rows()]
    add_legend(figure, handles, [*names, *doubts], drawn)
    return figure


def _doubts(texts: Sequence[str]) -> list[str]:
    """Lines of a caption: the first sentences, and how many more there are."""
    more = len(texts) - _MOST_DOUBTS
    told = [*texts[:_MOST_DOUBTS], *([f"And {more} more such points."] if more > 0 else [])]
    return [line for text in told for line in textwrap.wrap(text, _CAPTION)]


def _panel(axes: Axes, panel: Panel, attacks: Sequence[str]) -> None:
    prepare(axes, f"eps ({panel.norm})")
    for number, line in enumerate(panel.lines):
        _line(axes, line, number)
    for number, check in panel.checks:
        _point(axes, check, colour_of(number), marker_of(attacks.index(attack_name(check.row))))
    axes.set_xlim(0, panel.lines[0].curve.eps[-1])


def _line(axes: Axes, line: SecurityLine, number: int) -> None:
    curve, colour = line.curve, colour_of(number)
    axes.plot(
        curve.eps,
        100 * curve.robust_accuracy,
        color=colour,
        linestyle=dash_of(number),
        drawstyle="steps-post",
        label=line.name,
        **_hollow(line.flagged),
    )
    low, high = 100 * curve.ci_low, 100 * curve.ci_high
    axes.fill_between(curve.eps, low, high, step="post", color=colour, alpha=0.15, linewidth=0)


def _hollow(flagged: bool) -> dict[str, Any]:
    """A curve has hollow markers if its run is flagged, else none: those are for checks."""
    return {"marker": "o", "markevery": 0.15, "mfc": "white"} if flagged else {}


def _point(axes: Axes, check: CheckedRun, colour: str, marker: str) -> None:
    place = [known(check.row["eps"])], [100 * known(check.row["robust_accuracy"])]
    axes.errorbar(
        *place,
        yerr=error_bars([check.row]),
        color=colour,
        elinewidth=0.6,
        marker=marker,
        mfc="white" if is_flagged(check.row) else colour,
        zorder=3,
    )
    if check.too_optimistic:
        axes.plot(*place, **_ring(), zorder=4)


def _ring() -> dict[str, Any]:
    return {"linestyle": "", "marker": "o", "markersize": 9, "mfc": "none", "color": "black"}


def _legend(found: Sequence[Panel], attacks: Sequence[str]) -> tuple[list[Any], list[str]]:
    handles: list[Any] = []
    names: list[str] = []
    for panel in found:
        for number, line in enumerate(panel.lines):
            style = {"color": colour_of(number), "linestyle": dash_of(number)}
            handles.append(Line2D([], [], **style, **_hollow(line.flagged)))
            names.append(line.name if len(found) == 1 else f"{line.name} ({panel.norm})")
    for number, attack in enumerate(attacks):
        handles.append(Line2D([], [], linestyle="", marker=marker_of(number), color="0.35"))
        names.append(f"{attack} at its eps")
    if any(check.too_optimistic for panel in found for _, check in panel.checks):
        handles.append(Line2D([], [], **_ring()))
        names.append(_RING)
    return handles, names
