"""What an attack did to each image of a run, and step by step to all of them."""

from __future__ import annotations

from typing import cast

import numpy as np

from engine.store.columns import SAMPLE_COLUMNS, CurveRow, Payload, SampleRow
from engine.store.database import NOT_DELETED, ResultsDatabase, same_repeat
from engine.store.seals import has_settlers
from engine.store.telemetry import read_telemetry

MOST_SOURCES = 100
"""Runs whose examples are tried: each costs reading a file, and the nearest come first."""

_SOURCES = f"""
    WITH one AS MATERIALIZED (SELECT id, variant_key, data_key, model, spec FROM runs WHERE id = ?),
    near AS MATERIALIZED (
        SELECT runs.id FROM one JOIN runs ON runs.variant_key = one.variant_key
        UNION SELECT run_id FROM study_runs WHERE study_id IN (
            SELECT study_id FROM one JOIN study_runs ON run_id = one.id))
    SELECT runs.id FROM one CROSS JOIN near CROSS JOIN runs ON runs.id = near.id
    LEFT JOIN environments ON environments.id = runs.environment_id
    WHERE runs.id != one.id AND runs.status = 'finished' AND {NOT_DELETED}
        AND (runs.data_key = one.data_key
            OR json_extract(environments.content, '$.data_fingerprint') = ?)
        AND {same_repeat("runs", "one")}
    ORDER BY runs.variant_key = one.variant_key DESC, runs.model = one.model DESC, runs.id DESC
    LIMIT {MOST_SOURCES}
"""


def sample_rows(db: ResultsDatabase, run_id: int) -> list[SampleRow]:
    """One row per attacked image, in order: ``SAMPLE_COLUMNS``."""
    # Of an earlier version, only read, there is no worst case.
    columns = ", ".join(
        f'"{name}"' if name != "settled_by" or has_settlers(db) else "'' AS settled_by"
        for name in SAMPLE_COLUMNS
    )
    rows = db.query(f"SELECT {columns} FROM samples WHERE run_id = ? ORDER BY place", (run_id,))
    return [cast(SampleRow, {**row, "broken": bool(row["broken"])}) for row in rows]


def example_sources(db: ResultsDatabase, run_id: int, data_fingerprint: str) -> list[int]:
    """The runs whose examples may break the variant of a run, the most promising first.

    None of another repeat: known examples would make repeats alike that are to be independent.
    """
    return [source for (source,) in db.tuples(_SOURCES, (run_id, data_fingerprint))]


def curve_rows(db: ResultsDatabase, run_id: int) -> list[CurveRow]:
    """Robust accuracy and mean telemetry per attack step; none of a run without verdicts."""
    verdicts = db.tuples("SELECT broken_at_step FROM samples WHERE run_id = ?", (run_id,))
    broken_at = np.array([at for (at,) in verdicts], np.int64)
    if not len(broken_at):
        return []
    batches = db.tuples(
        "SELECT start, telemetry FROM batches WHERE run_id = ? ORDER BY start", (run_id,)
    )
    points: dict[int, list[Payload]] = {0: []}
    for start, telemetry in batches:
        for point in read_telemetry(run_id, start, telemetry):
            points.setdefault(point["step"], []).append(point)
    judged = np.sort(broken_at[broken_at >= 0])
    steps = sorted({*points, *judged.tolist()})
    broken = np.searchsorted(judged, steps, side="right")
    return [
        _curve_row(step, 1 - float(count) / len(broken_at), points.get(step, []))
        for step, count in zip(steps, broken, strict=True)
    ]


def _curve_row(step: int, robust_accuracy: float, points: list[Payload]) -> CurveRow:
    """Means over batches, weighted by the images still under attack."""
    here = [point for point in points if point["active"]]
    weight = sum(point["active"] for point in here)

    def mean(name: str) -> float | None:
        total = sum((point[name] or 0.0) * point["active"] for point in here)
        return total / weight if weight else None

    return {
        "step": step,
        "robust_accuracy": robust_accuracy,
        "loss": mean("loss"),
        "margin": mean("margin"),
        "active": weight,
        "part": next((point["part"] for point in points if point.get("part")), ""),
    }
