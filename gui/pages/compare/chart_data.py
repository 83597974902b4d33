"""Files and pairs of the Compare page; no widgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine.report.cells import csv_text
from engine.report.identity import attack_key, context_key
from engine.report.series import Axis, Series
from engine.store import ResultRow


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


Baseline = Callable[[ResultRow], ResultRow | None]


def baselines(rows: Sequence[ResultRow]) -> Baseline:
    """A function that gives the uncompressed run to compare a run with, None if there is none."""
    baseline_of: Mapping[tuple[object, ...], ResultRow] = {
        _pairing(row): row
        for row in rows
        if row["compression"] == "none" and row["status"] == "finished"
    }
    return lambda row: None if row["compression"] == "none" else baseline_of.get(_pairing(row))


def _pairing(row: ResultRow) -> tuple[object, ...]:
    images = context_key({**row, "study": None})  # a run may be shared by studies
    return images, row["model"], attack_key(row)
