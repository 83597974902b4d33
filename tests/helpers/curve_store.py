"""A database with distances: minimum-norm runs, and runs at an eps that check them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.specs.study import Study
from engine.statistics.intervals import wilson
from engine.store import Pair, RunKeys, Writer

N = 40
EPS = (0.5, 1.0)
STUDY: dict[str, Any] = {
    "name": "curves",
    "dataset": {"name": "digits", "limit": N},
    "model": [{"name": "digits-resnet"}],
    "compression": [{"name": "magnitude", "sparsity": 0.5}],
    "attack": [{"name": "fmn", "norm": "L2"}, {"name": "pgd-l2", "eps": list(EPS)}],
}
"""Runs 1 and 4 have distances, 2, 3 and 5, 6 check them at ``EPS``; run 4 is flagged."""
FLAG = {"id": "gradient-masking", "level": "danger", "text": "Likely gradient masking."}


def affine_distances(n: int = N, seed: int = 0) -> NDArray[np.float64]:
    """L2 distances of points to the boundary of an affine classifier; some 0 (misclassified)."""
    draw = np.random.default_rng(seed)
    weight, points = draw.normal(size=5), draw.normal(size=(n, 5))
    return np.maximum((points @ weight + 0.5) / np.linalg.norm(weight), 0)


def fill(path: Path, *, stronger: int = 0, study: dict[str, Any] = STUDY) -> list[int]:
    """Store the runs; checks break what the distances say, the first so many more."""
    wanted = Study.from_dict(study)
    runs = wanted.runs()
    keys = [RunKeys(f"run{i}", f"variant{run.compression}", "data") for i, run in enumerate(runs)]
    with Writer(path) as store:
        ids = store.add_study(wanted, list(zip(runs, keys, strict=True))).run_ids
        store.keep_images("data", {"images": np.full((N, 1, 8, 8), 0.5, np.float32)})
        for run_id, run in zip(ids, runs, strict=True):
            found = affine_distances(seed=0 if run.compression == "none" else 1)
            broken = np.isfinite(found)
            if run.attack.eps is not None:
                broken = found <= run.attack.eps
                if run.attack.eps == EPS[0]:
                    broken[np.flatnonzero(~broken)[:stronger]] = True
            _store(store, run_id, found, broken, flagged=run_id == 4)
    return list(ids)


def _store(
    store: Writer, run_id: int, found: NDArray[Any], broken: NDArray[Any], *, flagged: bool
) -> None:
    store.start_run(run_id, N)
    rows = [_sample(place, found[place], bool(broken[place])) for place in range(N)]
    batch = {"start": 0, "size": N, "seconds": 0.1, "telemetry": [], "notes": []}
    kept = {"index": np.arange(3), "adversarial": np.full((3, 1, 8, 8), 0.6, np.float32)}
    store.add_batch(run_id, batch, rows, kept)
    held = N - int(broken.sum())
    low, high = wilson(held, N)
    store.end_run(
        run_id,
        "finished",
        n=N,
        compression_rate=1.0,
        clean_accuracy=float(np.mean(found > 0)),
        robust_accuracy=held / N,
        ci_low=float(low),
        ci_high=float(high),
        flags=[FLAG] if flagged else [],
    )


def _sample(place: int, distance: float, broken: bool) -> dict[str, Any]:
    label = place % 10
    return {
        "index": place,
        "label": label,
        "clean_prediction": label if distance > 0 else (label + 1) % 10,
        "adversarial_prediction": (label + broken) % 10,
        "clean_confidence": 0.9,
        "adversarial_confidence": 0.8,
        "broken": broken,
        "l2": float(distance),
        "linf": float(distance) / 5,
        "forwards": 5,
        "backwards": 4,
        "broken_at_step": 1 if broken else -1,
    }


def add_transfers(path: Path, groups: Sequence[Sequence[int]]) -> dict[tuple[int, int], int]:
    """Judge every pair within each group of runs: gives how many of 20 images are fooled."""
    fooled: dict[tuple[int, int], int] = {}
    with Writer(path) as store:
        queue = store.transfer_queue
        for group in groups:
            for source in group:
                for target in group:
                    pair = Pair(source, target, f"{source} {target}")
                    count = 20 if source == target else (3 * source + target) % 20
                    fooled[source, target] = count
                    queue.plan([pair])
                    queue.finish(pair, {"kept": 30, "broken": count + 5, "n": 20, "fooled": count})
    return fooled
