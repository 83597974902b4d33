"""The four metrics of the review as one picture: panels that share the axis of the variants."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from engine.catalog import format_number
from engine.report.canvas import WIDTH, add_legend, colour_of, log_axis, marker_of
from engine.report.categories import category
from engine.report.identity import (
    Key,
    attack_name,
    context_key,
    grouped,
    names_of,
    threat_key,
    variant_key,
)
from engine.report.naming import in_order, is_flagged, known, namer
from engine.statistics.intervals import wilson
from engine.store import Columns, ResultRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LETTERS = 26
"""Of a line of a variant's name."""
_LINE = 0.105
"""Inches of it."""
_LOG_FROM = 8.0
_QUIET = "0.35"


@dataclass(frozen=True)
class _Place:
    """A line of the shared axis: a variant, or the heading of a category.

    Attributes:
        y: its middle, in lines of text from the top.
        text: what stands there.
        key: of the variant; None for a heading.
    """

    y: float
    text: str
    key: Key | None


def metrics(rows: Sequence[ResultRow]) -> Figure:
    """Robust accuracy, average perturbation, compression rate and parameters of every variant.

    Of a variant in a threat model the worst case, and the perturbation of its strongest run.
    Variants stand under their categories, in order of the rate they reached.

    Args:
        rows: finished, with their specs.
    """
    variants = grouped(rows, _variant)
    places = _places(variants)
    height = places[-1].y + 1
    balls = in_order([_ball(row) for row in rows])
    figure = Figure(
        figsize=(WIDTH, 1.0 + 2 * _LINE * height + 0.13 * (len(balls) + 2)), layout="constrained"
    )
    panels: Any = figure.subplots(2, 2).ravel()
    for number, panel in enumerate(panels):
        _prepare(panel, places, height, named=number % 2 == 0)
    for place in places:
        if place.key is not None:
            _draw(panels, variants[place.key], place.y, balls)
    _finish(panels, rows)
    add_legend(figure, *_handles(balls), rows)
    return figure


def _variant(row: ResultRow) -> Key:
    return f"{context_key(row)} {variant_key(row)}"


def _ball(row: ResultRow) -> str:
    """What is drawn of a run, the same for all runs in its threat model."""
    if row["eps"] is None:
        return f"average perturbation of {attack_name(row)}, which has no eps"
    ball = " ".join(filter(None, (row["norm"], format_number(row["eps"]))))
    return f"worst case within {ball}, and its strongest run"


def _places(variants: Mapping[Key, Sequence[ResultRow]]) -> list[_Place]:
    first = {key: group[0] for key, group in variants.items()}
    title = names_of(first, namer(list(first.values()), ("model", "compression")))
    told = {key: category(row) for key, row in first.items()}

    def order(key: Key) -> tuple[Any, ...]:
        row = first[key]
        return (*told[key].order, row["model"], row["compression_rate"] or 0.0, row["run_id"])

    found: list[_Place] = []
    top, heading = 0.0, None
    for key in sorted(first, key=order):
        if told[key].words != heading:
            heading = told[key].words
            top = _add(found, heading, None, top + 0.5)
        top = _add(found, title[key], key, top)
    return found


def _add(found: list[_Place], text: str, key: Key | None, top: float) -> float:
    lines = textwrap.wrap(text, _LETTERS) or [""]
    found.append(_Place(top + len(lines) / 2, "\n".join(lines), key))
    return top + len(lines) + 0.35


def _prepare(axes: Axes, places: Sequence[_Place], height: float, *, named: bool) -> None:
    """An empty panel; the left ones name the variants."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(height, -0.2)
    if named:
        axes.set_yticks([one.y for one in places], [one.text for one in places], fontsize=5.5)
        for label, one in zip(axes.get_yticklabels(), places, strict=True):
            label.set_fontweight("normal" if one.key else "bold")
    else:
        axes.set_yticks([])
    axes.hlines([one.y for one in places if one.key], 0, 1, transform=axes.get_yaxis_transform(),
                color="0.9", linewidth=0.5, zorder=0)  # fmt: skip
    axes.tick_params(axis="y", length=0)


def _draw(panels: Sequence[Axes], rows: Sequence[ResultRow], y: float, balls: list[str]) -> None:
    """One variant in all four panels; those in several threat models stand above each other."""
    robust, moved, rate, parameters = panels
    groups = list(grouped(rows, threat_key).values())
    for number, group in enumerate(groups):
        row = min(group, key=_strength)
        at = y + (number - (len(groups) - 1) / 2) * min(0.4, 0.8 / len(groups))
        style = _style(balls.index(_ball(row)), hollow=is_flagged(row))
        if row["robust_accuracy"] is not None:
            share, n = _worst(group), known(row["n"])
            low, high = map(float, wilson(round(share * n), n))
            ends = [[100 * max(0.0, share - low)], [100 * max(0.0, high - share)]]
            robust.errorbar([100 * share], [at], xerr=ends, elinewidth=0.6, **style)
        if row["avg_perturbation_l2"] is not None:
            moved.plot([row["avg_perturbation_l2"]], [at], **style)
    first: Columns = rows[0]
    if first["compression_rate"] is not None:
        rate.plot([first["compression_rate"]], [y], **_counted(filled=True))
    for name, filled in (("parameters", False), ("nonzero_parameters", True)):
        if first[name] is not None:
            parameters.plot([first[name]], [y], **_counted(filled=filled))


def _strength(row: ResultRow) -> tuple[float, float]:
    """Lowest for the strongest run; of those without a robust accuracy for the closest examples."""
    share, moved = row["robust_accuracy"], row["avg_perturbation_l2"]
    return (1.0 if share is None else share), (math.inf if moved is None else moved)


def _worst(group: Sequence[ResultRow]) -> float:
    """What survives all that is stored; before there is a verdict what the strongest run left."""
    shares = [share for row in group for share in (row["worst_case"], row["robust_accuracy"])]
    return min(share for share in shares if share is not None)


def _style(number: int, *, hollow: bool) -> dict[str, Any]:
    colour = colour_of(number)
    face = "white" if hollow else colour
    look = {"color": colour, "marker": marker_of(number), "mfc": face, "ms": 3.5}
    return {**look, "linestyle": "", "clip_on": False}


def _counted(*, filled: bool) -> dict[str, Any]:
    face = _QUIET if filled else "white"
    return {
        "color": _QUIET,
        "marker": "o" if filled else "d",
        "mfc": face,
        "linestyle": "",
        "ms": 3,
    }


def _finish(panels: Sequence[Axes], rows: Sequence[ResultRow]) -> None:
    robust, moved, rate, parameters = panels
    robust.set_xlim(0, 100)
    robust.set_xlabel("robust accuracy (%)", fontsize=6)
    _scale(moved, "average perturbation (L2)", _values(rows, "avg_perturbation_l2"), log=False)
    _scale(rate, "compression rate", _values(rows, "compression_rate"))
    counts = [*_values(rows, "parameters"), *_values(rows, "nonzero_parameters")]
    _scale(parameters, "parameters", counts)
    parameters.xaxis.set_major_formatter(EngFormatter(sep=""))


def _values(rows: Sequence[ResultRow], name: str) -> list[float]:
    columns: Sequence[Columns] = rows
    return [row[name] for row in columns if row[name]]


def _scale(axes: Axes, label: str, values: Sequence[float], *, log: bool = True) -> None:
    """From 0, or logarithmic where the values span too much for that."""
    axes.set_xlabel(label, fontsize=6)
    if log and values and max(values) > _LOG_FROM * min(values):
        log_axis(axes, min(values), max(values), narrow=True)
        return
    axes.set_xlim(0, 1.08 * max(values, default=1))
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _handles(balls: Sequence[str]) -> tuple[list[Line2D], list[str]]:
    handles = [Line2D([], [], **_style(number, hollow=False)) for number in range(len(balls))]
    handles += [Line2D([], [], **_counted(filled=False)), Line2D([], [], **_counted(filled=True))]
    return handles, [*balls, "all parameters", "those that are not 0, and the rate"]
