"""What the security chart of the Compare page shows in words and files; no widgets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from engine.report.cells import csv_text
from engine.report.naming import is_flagged, known
from engine.report.security import CheckedRun, Panel, SecurityLine, needed, panels
from engine.report.series import Point, Series
from engine.statistics.words import in_percent, percent
from engine.store import DistanceRow, ResultRow, SampleRow, Store

_MARKS = {"o": "●", "s": "■", "t1": "▲", "d": "◆", "t": "▼", "star": "★", "p": "⬟", "+": "✚"}
_MOST_DOUBTS = 3
_AT_ONCE = 100
"""Runs whose images are read before others have their turn."""
_MOST_VALUES = 12


NamedPanel = tuple[Panel, Sequence[Series]]
"""The curves of a norm, and what the legend lists."""


def read_panels(
    store: Store, rows: Sequence[ResultRow], samples: dict[int, Sequence[DistanceRow]]
) -> list[NamedPanel] | None:
    """The curves of these runs; None if there is more to read.

    Args:
        store: where their images are.
        rows: finished runs.
        samples: by run, what was read before; it is added to.
    """
    missing = [run_id for run_id in needed(rows) if run_id not in samples]
    for run_id in missing[:_AT_ONCE]:
        samples[run_id] = _kept(store.samples(run_id))
    if len(missing) > _AT_ONCE:
        return None
    made = panels(rows, samples)
    for line in (line for panel in made for line in panel.lines):
        line.outline  # noqa: B018  found here, not where it is drawn
    return [(panel, series_of_panel(panel)) for panel in made]


def _kept(samples: Sequence[SampleRow]) -> Sequence[DistanceRow]:
    """Of many runs with many images only what is drawn, in 25 bytes an image."""
    told = [(one["index"], one["broken"], one["l2"], one["linf"]) for one in samples]
    rows = np.array(told, [("index", "i8"), ("broken", "?"), ("l2", "f8"), ("linf", "f8")])
    return cast(Sequence[DistanceRow], rows)  # they are read by the same names


def series_of_panel(panel: Panel) -> list[Series]:
    """The curves as series; the points of one are the runs that check it."""
    points: dict[int, list[Point]] = {number: [] for number in range(len(panel.lines))}
    for number, check in panel.checks:
        points[number].append(_point(check))
    return [
        Series(number, line.name, tuple(points[number])) for number, line in enumerate(panel.lines)
    ]


def _point(check: CheckedRun) -> Point:
    row, share = check.row, known(check.row["robust_accuracy"])
    if check.verdict is None:
        remark = "\nNot compared with the curve: it saw other images."
    else:
        verdict = check.verdict
        remark = f"\nThe curve says {percent(verdict.curve)} (McNemar p = {verdict.p_value:.2g})."
    return Point(
        run_id=row["run_id"],
        x=known(row["eps"]),
        y=share,
        low=share if row["ci_low"] is None else row["ci_low"],
        high=share if row["ci_high"] is None else row["ci_high"],
        flagged=is_flagged(row),
        row=row,
        remark=remark,
        family="none",
    )


def values_at(lines: Sequence[SecurityLine], eps: float) -> str:
    """The curves at one radius, a line of text each; of many only the first."""
    texts = [f"At eps {eps:.4g}:"]
    for line in lines[:_MOST_VALUES]:
        here = line.at(eps)
        share, low, high = here.robust_accuracy[0], here.ci_low[0], here.ci_high[0]
        texts.append(f"{line.name}: {percent(share)} [{in_percent(low)}, {in_percent(high)}]")
    more = len(lines) - _MOST_VALUES
    return "\n".join([*texts, *([f"And {more} more curves."] if more > 0 else [])])


def note_of(lines: Sequence[SecurityLine], marks: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The note on the chart and its role.

    Args:
        lines: what is drawn.
        marks: attack and marker of the points.
    """
    parts = ["Bands and bars are 95 % Wilson intervals."]
    if marks:
        named = ", ".join(f"{_MARKS.get(mark, mark)} {attack}" for attack, mark in marks)
        parts.append(f"Points check a curve at their eps: {named}.")
    checks = {check.row["run_id"]: check.row for line in lines for check in line.checks}
    flagged = sum(line.flagged for line in lines) + sum(map(is_flagged, checks.values()))
    if flagged:
        parts.append("Hollow: flagged, not evidence of robustness.")
    doubts = [text for line in lines for text in line.doubts()]
    more = len(doubts) - _MOST_DOUBTS
    parts += [*doubts[:_MOST_DOUBTS], *([f"And {more} more such points."] if more > 0 else [])]
    return " ".join(parts), "warning" if flagged or doubts else "muted"


def write_security_csv(path: Path, lines: Sequence[SecurityLine]) -> None:
    """Write the curves and the points that check them, one value per row."""
    columns = ("series", "run_id", "what", "attack", "eps", "robust_accuracy", "ci_low", "ci_high")
    rows = (row for line in lines for row in _csv_rows(line))
    path.write_text(csv_text((*columns, "p_value"), rows), "utf-8")


def _csv_rows(line: SecurityLine) -> Iterator[tuple[object, ...]]:
    curve, row = line.curve, line.row
    head = (line.name, row["run_id"], "curve", row["attack"])
    values = (curve.eps, curve.robust_accuracy, curve.ci_low, curve.ci_high)
    for numbers in zip(*(column.tolist() for column in values), strict=True):
        yield (*head, *numbers, "")
    for check in line.checks:
        rival = check.row
        p_value = check.verdict.p_value if check.verdict else ""
        shares = (rival["robust_accuracy"], rival["ci_low"], rival["ci_high"])
        head = (line.name, rival["run_id"], "check", rival["attack"])
        yield (*head, rival["eps"], *shares, p_value)
