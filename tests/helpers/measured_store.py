"""A database of which everything is said: who breaks what, and what each variant costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.specs.study import Study
from engine.statistics.intervals import wilson
from engine.store import RunKeys, Writer

N = 20


@dataclass(frozen=True)
class Told:
    """What is stored of a variant.

    Attributes:
        broken: images that each attack breaks, by its id; clean mistakes come on top.
        mistakes: images that are wrong without an attack.
        size: its packed bytes; a base model here has 1000.
        macs: None where no accounting is stored.
        checks: of its runs, by attack.
    """

    broken: Mapping[str, Collection[int]]
    mistakes: Collection[int] = ()
    size: int = 1000
    macs: int | None = 500
    parameters: int = 250
    steps: Sequence[Mapping[str, Any]] = ()
    latency: Sequence[Mapping[str, Any]] = ()
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    flags: Sequence[Mapping[str, str]] = ()


def fill(
    path: Path, tables: Mapping[str, Any], told: Mapping[tuple[str, str], Told]
) -> dict[tuple[str, str, str], int]:
    """Store a study; run ids by model, compression and id of the attack.

    Args:
        path: of the database.
        tables: the study.
        told: of each variant, by model and compression.
    """
    study = Study.from_dict(tables)
    runs = study.runs()
    keys = [
        RunKeys(f"run{i}", f"{run.model} {run.compression}", "data") for i, run in enumerate(runs)
    ]
    found = {}
    with Writer(path) as store:
        queued = store.add_study(study, list(zip(runs, keys, strict=True)))
        store.keep_images("data", {"images": np.full((N, 1, 8, 8), 0.5, np.float32)})
        for run_id, run, key in zip(queued.run_ids, runs, keys, strict=True):
            own = told[run.model, run.compression]
            store.put_stage(key.variant, "variant", _payload(own), 0.1)
            _run(store, run_id, own, run.attack.name)
            found[run.model, run.compression, run.attack.name] = run_id
    return found


def _payload(own: Told) -> dict[str, Any]:
    accounting = {} if own.macs is None else {"macs": own.macs}
    return {"steps": list(own.steps), "latency": list(own.latency), "accounting": accounting}


def _run(store: Writer, run_id: int, own: Told, attack: str) -> None:
    gone = {*own.broken[attack], *own.mistakes}
    store.start_run(run_id, N)
    rows = [_sample(place, place in gone, place in own.mistakes) for place in range(N)]
    batch = {"start": 0, "size": N, "seconds": 0.1, "telemetry": [], "notes": []}
    kept = {"index": 100 + np.arange(1), "adversarial": np.full((1, 1, 8, 8), 0.6, np.float32)}
    store.add_batch(run_id, batch, rows, kept)
    low, high = wilson(N - len(gone), N)
    store.end_run(
        run_id,
        "finished",
        n=N,
        compression_rate=1000 / own.size,
        size_bytes=own.size,
        parameters=own.parameters,
        nonzero_parameters=own.parameters * own.size // 1000,
        clean_accuracy=(N - len(own.mistakes)) / N,
        robust_accuracy=(N - len(gone)) / N,
        ci_low=float(low),
        ci_high=float(high),
        avg_perturbation_l2=0.5 + len(gone) / 100,
        checks=own.checks.get(attack, {}),
        flags=list(own.flags),
        environment={"platform": "here", "device_description": "cpu, 1 thread"},
    )


def _sample(place: int, broken: bool, wrong: bool) -> dict[str, Any]:
    return {
        "index": 100 + place,
        "label": 0,
        "clean_prediction": int(wrong),
        "adversarial_prediction": int(broken),
        "clean_confidence": 0.9,
        "adversarial_confidence": 0.8,
        "broken": broken,
        "l2": 0.0 if wrong else 0.8,
        "linf": 0.0 if wrong else 0.1,
        "forwards": 5,
        "backwards": 4,
        "broken_at_step": 0 if wrong else 1 if broken else -1,
    }
