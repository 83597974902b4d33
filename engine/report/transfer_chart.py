"""The chart of transfer matrices: a heat map of sources by targets for each attack."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from engine.errors import CrumpleError
from engine.report.canvas import WIDTH, add_legend
from engine.report.naming import is_flagged
from engine.report.transfer import Matrix, matrices
from engine.store import ResultRow, TransferRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def transfer(rows: Sequence[ResultRow], pairs: Mapping[int, Sequence[TransferRow]]) -> Figure:
    """Transfer rates of the chosen runs, as numbers on colour.

    Args:
        rows: the chosen runs, from the results.
        pairs: by source run, its rows of ``Store.transfers``.
    """
    known = {row["run_id"]: row for row in rows}
    chosen = [
        pair
        for run in known
        for pair in pairs.get(run, ())
        if pair["target_run"] in known and pair["status"] == "finished"
    ]
    if not chosen:
        raise CrumpleError(
            "There is nothing to draw: no pair of chosen runs is judged.",
            "Run a study with two variants or more that keeps images; a study that is finished "
            "already judges its pairs when it is run again.",
        )
    found = matrices(chosen)
    flagged = {run for run, row in known.items() if is_flagged(row)}
    # The names of the targets stand below the last matrix if they are those of all.
    same = len({tuple(matrix.runs.values()) for matrix in found}) == 1
    sizes = [0.4 + 0.2 * len(one.runs) + (0 if same else 0.5) for one in found]
    figure = Figure(figsize=(WIDTH, sum(sizes) + 0.9 + 0.13 * len(found)), layout="constrained")
    every = figure.subplots(len(found), squeeze=False, height_ratios=sizes, sharex=same)[:, 0]
    mesh = [_heat(axes, matrix, flagged) for axes, matrix in zip(every, found, strict=True)][-1]
    for axes in every if not same else every[-1:]:
        axes.set_xlabel("target")
    notes = ["framed: white-box, examples on the model they were made on", *_counts(found)]
    handles = [Patch(fill=False, edgecolor="black"), *([Line2D([], [], linestyle="")] * len(found))]
    add_legend(figure, handles, notes, _shown(found, known), hollow="(0.0)")
    figure.colorbar(mesh, ax=list(every), label="transfer rate (%)", fraction=0.06)
    return figure


def _counts(found: Sequence[Matrix]) -> list[str]:
    single = len(found) == 1
    return [one.images() if single else f"{one.title}: {one.images()}" for one in found]


def _shown(found: Sequence[Matrix], known: Mapping[int, ResultRow]) -> list[ResultRow]:
    return [known[run] for matrix in found for run in matrix.runs]


def _heat(axes: Axes, matrix: Matrix, flagged: Collection[int]) -> Any:
    order = list(matrix.runs)
    grid = [[_percent(matrix.cells.get((source, target))) for target in order] for source in order]
    mesh = axes.pcolormesh(grid, cmap="cividis", vmin=0, vmax=100, edgecolors="white", lw=0.6)
    for row, values in enumerate(grid):
        for column, value in enumerate(values):
            doubted = order[row] in flagged or order[column] in flagged
            _number(axes, row, column, value, doubted)
        axes.add_patch(Rectangle((row, row), 1, 1, fill=False, edgecolor="black", lw=1.2))
    names = list(matrix.runs.values())
    places = [place + 0.5 for place in range(len(names))]
    axes.set_xticks(places, names, rotation=30, ha="right")
    axes.set_yticks(places, names)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.set(ylabel="source", title=matrix.title)
    return mesh


def _number(axes: Axes, row: int, column: int, value: float, doubted: bool) -> None:
    text = "-" if math.isnan(value) else f"({value:.0f})" if doubted else f"{value:.0f}"
    dark = value < 55
    axes.text(
        column + 0.5,
        row + 0.5,
        text,
        ha="center",
        va="center",
        color="white" if dark else "black",
    )


def _percent(row: TransferRow | None) -> float:
    rate = None if row is None else row["transfer_rate"]
    return math.nan if rate is None else 100 * float(rate)
