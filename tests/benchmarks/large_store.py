"""A database with as many finished runs as one likes, written without computing anything."""

from __future__ import annotations

import json
from pathlib import Path

from engine.specs.study import Study
from engine.store import RunKeys, Writer

STEPS = 50
"""Telemetry points of each run."""
_A_STUDY = 500


def study(name: str, seed: int, runs: int) -> Study:
    """A study of about as many runs: two variants, PGD at that many radii."""
    return Study.from_dict(
        {
            "name": name,
            "seed": seed,
            "dataset": {"name": "digits", "limit": 100},
            "model": [{"name": "digits-resnet"}],
            "compression": [{"name": "magnitude", "sparsity": 0.5}],
            "attack": [{"name": "pgd", "eps": [i / 10_000 for i in range(1, runs // 2 + 1)]}],
        }
    )


def queue(store: Writer, wanted: Study) -> tuple[int, ...]:
    """Queue a study; its keys are made up."""
    keyed = [
        (run, RunKeys(f"{wanted.name} {place}", f"{wanted.name} {run.compression}", wanted.name))
        for place, run in enumerate(wanted.runs())
    ]
    return store.add_study(wanted, keyed).run_ids


def fill(path: Path, runs: int) -> None:
    """Store that many finished runs, in studies of 500, with their telemetry."""
    points = [
        {"step": step, "active": 100, "loss": 1.0 + step / 7, "margin": 0.5 - step / 97}
        for step in range(1, STEPS + 1)
    ]
    telemetry = json.dumps(points)
    with Writer(path) as store:
        for number in range(max(1, runs // _A_STUDY)):
            ids = queue(store, study(f"study {number}", number, min(runs, _A_STUDY)))
            with store.db.atomic():
                store.db.conn.executemany(
                    "INSERT INTO batches VALUES (?, 0, 100, 1.5, ?, '[]')",
                    [(run_id, telemetry) for run_id in ids],
                )
                store.db.conn.executemany(
                    "UPDATE runs SET status = 'finished', n = 100, done = 100, total = 100, "
                    "clean_accuracy = 0.97, robust_accuracy = ?, ci_low = 0.3, ci_high = 0.7, "
                    "compression_rate = 2.0, seconds = 1.5, queries_per_sample = 40, "
                    "verdict = '{}', checks = '{}', "
                    "started = created, finished = created WHERE id = ?",
                    [((run_id * 37 % 101) / 100, run_id) for run_id in ids],
                )
