"""Finished runs of one variant on the same images, with verdicts that a test writes down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.specs.study import Study
from engine.statistics.intervals import wilson
from engine.store import RunKeys, Writer


def finish(
    store: Writer,
    attack: dict[str, Any],
    distances: Sequence[float],
    *,
    variant: str = "variant",
    data: str = "data",
    clean_mistakes: int = 0,
    **columns: Any,
) -> int:
    """Store a finished run; gives its id.

    Args:
        store: where it goes.
        attack: its table.
        distances: of each image's example, inf where none was found; the same in both norms.
        variant: the key of what it attacks.
        data: the key of the images.
        clean_mistakes: the first so many images are misclassified without an attack.
        columns: further columns of the finished run.
    """
    study = Study.from_dict(
        {
            "name": f"{variant} {data} {attack}",
            "dataset": {"name": "digits", "limit": len(distances)},
            "model": [{"name": "digits-resnet"}],
            "attack": [attack],
        }
    )
    (run,) = study.runs()
    key = f"{variant} {data} {run.attack}"
    (run_id,) = store.add_study(study, [(run, RunKeys(key, variant, data))]).run_ids
    n = len(distances)
    store.start_run(run_id, n)
    rows = [
        _sample(index, distance, index < clean_mistakes) for index, distance in enumerate(distances)
    ]
    batch = {"start": 0, "size": n, "seconds": 0.1, "telemetry": [], "notes": []}
    kept = {"index": np.arange(n), "adversarial": np.zeros((n, 1, 2, 2), np.float32)}
    store.add_batch(run_id, batch, rows, kept)
    held = sum(not row["broken"] for row in rows)
    low, high = wilson(held, n)
    found = {
        "n": n,
        "clean_accuracy": 1 - clean_mistakes / n,
        "robust_accuracy": held / n,
        "ci_low": float(low),
        "ci_high": float(high),
    }
    store.end_run(run_id, "finished", **{**found, **columns})
    return run_id


def breaks(*images: range, of: int = 40, at: float = 0.1) -> list[float]:
    """Distances of a run that breaks these images, each at one distance."""
    broken = {image for span in images for image in span}
    return [at if image in broken else float("inf") for image in range(of)]


def _sample(index: int, distance: float, wrong: bool) -> dict[str, Any]:
    broken = wrong or distance < float("inf")
    return {
        "index": index,
        "label": index % 10,
        "clean_prediction": (index + wrong) % 10,
        "adversarial_prediction": (index + broken) % 10,
        "clean_confidence": 0.9,
        "adversarial_confidence": 0.8,
        "broken": broken,
        "l2": 0.0 if wrong or not broken else distance,
        "linf": 0.0 if wrong or not broken else distance,
        "forwards": 5,
        "backwards": 4,
        "broken_at_step": 0 if wrong else 1 if broken else -1,
    }
