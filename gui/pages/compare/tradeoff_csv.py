"""The trade-off as a table of its points; no widgets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.report.cells import csv_text
from engine.report.series import Axis, Series


def write_csv(path: Path, series: Sequence[Series], x: Axis, y: Axis) -> None:
    """Write the points that are drawn, one per row."""
    columns = ("series", "run_id", "compression", x.id, y.id, "ci_low", "ci_high", "flagged")
    path.write_text(
        csv_text(
            columns,
            (
                (group.name, p.run_id, p.compression, p.x, p.y, p.low, p.high, int(p.flagged))
                for group in series
                for p in group.points
            ),
        ),
        "utf-8",
    )
