"""Charts for a paper column: what to draw, and writing it to SVG, PDF or PNG.

Everything here works on matplotlib's objects; pyplot and its global state are never touched.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import CrumpleError, SpecError
from engine.report.identity import first_attacks
from engine.report.naming import titled, titled_pairs
from engine.report.series import X_AXES, Y_AXES, Axis
from engine.store import ResultRow, Store, TransferRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from engine.store import Store

Details = Mapping[int, Sequence[Any]]
"""By run id what a kind draws: ``CurveRow``, ``SampleRow``, ``TransferRow`` or ``Change``."""

KINDS = ("pareto", "curve", "bars", "heatmap", "security", "transfer", "metrics", "categories")
SUFFIXES = (".svg", ".pdf", ".png")

# Text stays text, so that it can be searched and edited; ids in the file do not change from
# one drawing to the next.
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "crumple",
    "pdf.fonttype": 42,
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.linewidth": 0.6,
    "axes.grid": False,
    "lines.linewidth": 1.0,
    "lines.markersize": 4,
    "errorbar.capsize": 1.5,
    "legend.fontsize": 6,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "hatch.linewidth": 0.5,
    "savefig.dpi": 300,
}
_METADATA: dict[str, dict[str, None]] = {
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
    ".png": {"Software": None},
}


def chart_details(kind: str, rows: Sequence[ResultRow], store: Store) -> Details:
    """What ``draw_chart`` needs of a kind beside the results, by run id."""
    from engine.report.category_changes import changes
    from engine.report.security import needed

    if kind == "curve":
        return {row["run_id"]: list(store.curve(row["run_id"])) for row in rows}
    if kind == "security":
        return {run_id: list(store.samples(run_id)) for run_id in needed(rows)}
    if kind == "categories":
        finished = [row for row in rows if row["status"] == "finished"]
        return {one.row["run_id"]: [one] for one in changes(finished, store)}
    found: dict[int, list[TransferRow]] = {}
    runs = [row["run_id"] for row in rows]
    for pair in store.transfers(among=runs) if kind == "transfer" else ():
        found.setdefault(pair["source_run"], []).append(pair)
    return found


def draw_chart(
    kind: str,
    rows: Sequence[ResultRow],
    details: Details | None = None,
    axes: tuple[Axis, Axis] = (X_AXES[0], Y_AXES[0]),
    titles: Mapping[str, str] | None = None,
) -> Figure:
    """Draw one of ``KINDS``.

    Args:
        kind: pareto (along ``axes``), curve (against attack step),
            bars (per variant), heatmap (variant x attack), security (against eps, from
            distances), transfer (source x target), metrics (the four of the review) or
            categories (changes against the rate).
        rows: finished results, with their specs; second attacks, and those without a value, are
            left out.
        details: what ``chart_details`` gives: for ``curve`` the points of each run, for
            ``security`` its samples, for ``transfer`` the pairs it is the source of, for
            ``categories`` how its variant differs from its base model.
        axes: of pareto, x and y.
        titles: what models are called, by id; None leaves the ids.

    Returns:
        A figure 3.5 inches wide. Runs with a flag of level danger are drawn hollow.

    Raises:
        CrumpleError: no such kind, or nothing to draw.
    """
    from engine.report import (
        categories_chart,
        charts,
        metrics_chart,
        security_chart,
        tradeoff_chart,
        transfer_chart,
    )

    if kind not in KINDS:
        raise SpecError(f"There is no chart {kind!r}.", f"Known: {', '.join(KINDS)}.")
    first = _first_attacks(rows)
    rows = titled(first, titles) if titles is not None else first
    finished = [row for row in rows if row["clean_accuracy"] is not None]
    robust = [row for row in finished if row["robust_accuracy"] is not None]
    if not (finished if kind in ("security", "transfer", "metrics") else robust):
        raise CrumpleError("There is nothing to draw: no run is finished.", "Finish a run first.")
    more = details or {}
    if kind == "transfer" and titles is not None:
        more = {run: titled_pairs(pairs, titles) for run, pairs in more.items()}
    painters: dict[str, Callable[[], Figure]] = {
        "pareto": lambda: tradeoff_chart.tradeoff(finished, *axes),
        "curve": lambda: charts.curve(robust, more),
        "bars": lambda: charts.bars(robust),
        "heatmap": lambda: charts.heatmap(robust),
        "security": lambda: security_chart.security(finished, more),
        "categories": lambda: categories_chart.categories(
            [one for found in more.values() for one in found]
        ),
        "metrics": lambda: metrics_chart.metrics(finished),
        "transfer": lambda: transfer_chart.transfer(finished, more),
    }
    with _style():
        return painters[kind]()


def _first_attacks(rows: Sequence[ResultRow]) -> list[ResultRow]:
    first = first_attacks(rows)
    if rows and not first:
        raise CrumpleError(
            "There is nothing to draw: second attacks only tell how much an attack varies.",
            "Choose the runs that first attacked these variants.",
        )
    return first


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """Our settings on matplotlib's own defaults.

    What a matplotlibrc in the current folder says has no part in it: it could have text set by
    TeX, another program.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def check_suffix(path: Path) -> str:
    """The suffix of a picture file in small letters.

    Raises:
        SpecError: it is none of ``SUFFIXES``.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SpecError(
            f"A chart cannot be written as {path.name!r}.", f"End it in {', '.join(SUFFIXES)}."
        )
    return suffix


def save_chart(figure: Figure, path: Path) -> None:
    """Write a chart; the same chart gives the same bytes.

    Raises:
        CrumpleError: the suffix is unknown, or the file cannot be written.
    """
    suffix = check_suffix(path)
    picture = io.BytesIO()
    with _style():
        figure.savefig(picture, format=suffix[1:], metadata=_METADATA[suffix])
    try:
        path.write_bytes(picture.getvalue())
    except OSError as error:
        raise CrumpleError(
            f"The chart {path} cannot be written: {error.strerror}.",
            "Choose a folder that exists and that you can write to.",
        ) from None
