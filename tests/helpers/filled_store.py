"""A database with results that no engine had to compute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.specs.study import Study
from engine.statistics.intervals import wilson
from engine.store import RunKeys, Writer
from engine.store.stage_keys import variant_key

N = 20
FLAG = {"id": "likely-masking", "level": "danger", "text": "Gradients are likely masked."}
STUDY = {
    "name": "One | two $ three",
    "dataset": {"name": "digits", "limit": N},
    "model": [{"name": "digits-resnet"}],
    "compression": [{"name": "magnitude", "sparsity": 0.5}, {"name": "ptq", "bits": 2}],
    "attack": [{"name": "fgsm", "eps": 0.15}, {"name": "pgd", "eps": 0.15, "steps": 4}],
}
RATES = {"none": 1.0, "magnitude 50%": 2.0, "ptq w2": 14.5}


def fill(path: Path, tables: Mapping[str, Any] = STUDY) -> list[int]:
    """Store one study of finished runs; run number k breaks 2 k images, or all. Gives the ids.

    Runs of one variant have one key of it, as they would.
    """
    study = Study.from_dict(tables)
    runs = study.runs()
    keys = [
        RunKeys(f"run{i}", variant_key(run, run.model, "lesson"), "data")
        for i, run in enumerate(runs)
    ]
    with Writer(path) as store:
        queued = store.add_study(study, list(zip(runs, keys, strict=True)))
        store.keep_images("data", {"images": np.full((N, 1, 8, 8), 0.5, np.float32)})
        for number, (run_id, run) in enumerate(zip(queued.run_ids, runs, strict=True), 1):
            _run(store, run_id, run.compression, min(2 * number, N))
    return list(queued.run_ids)


def _run(store: Writer, run_id: int, compression: str, broken: int) -> None:
    store.start_run(run_id, N)
    samples = [sample(index, index < broken) for index in range(N)]
    telemetry = [{"step": 1, "active": N, "loss": 1.0, "margin": 0.5}]
    batch = {"start": 0, "size": N, "seconds": 0.1, "telemetry": telemetry, "notes": {}}
    kept = {
        "index": 100 + np.arange(3),
        "adversarial": np.full((3, 1, 8, 8), 0.6, np.float32),
    }
    store.add_batch(run_id, batch, samples, kept)
    low, high = wilson(N - broken, N)
    store.end_run(
        run_id,
        "finished",
        n=N,
        compression_rate=RATES.get(compression, 10.0),
        size_bytes=1000,
        clean_accuracy=1.0,
        robust_accuracy=(N - broken) / N,
        ci_low=float(low),
        ci_high=float(high),
        flags=[FLAG] if compression == "ptq w2" else [],
    )


def sample(index: int, broken: bool) -> dict[str, Any]:
    """What an attack says of an image."""
    return {
        "index": 100 + index,
        "label": index % 10,
        "clean_prediction": index % 10,
        "adversarial_prediction": (index + broken) % 10,
        "clean_confidence": 0.9,
        "adversarial_confidence": 0.8,
        "broken": broken,
        "l2": 0.8,
        "linf": 0.1,
        "forwards": 5,
        "backwards": 4,
        "broken_at_step": 1 + index % 4 if broken else -1,
    }
