"""The trade-off as a table of its points; no widgets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.report.cells import csv_text
from engine.report.series import Axis, Point, Series


def write_csv(path: Path, series: Sequence[Series], x: Axis, y: Axis) -> None:
    """Write the points that are drawn, one per row."""
    columns = (
        "series",
        "run_id",
        "seed",
        "compression",
        x.id,
        y.id,
        "ci_low",
        "ci_high",
        "flagged",
    )
    path.write_text(
        csv_text(
            columns,
            (_line(group, p) for group in series for p in group.points),
        ),
        "utf-8",
    )


def _line(group: Series, point: Point) -> tuple[object, ...]:
    where = group.name, point.run_id, point.row["seed"], point.compression
    return (*where, point.x, point.y, point.low, point.high, int(point.flagged))
