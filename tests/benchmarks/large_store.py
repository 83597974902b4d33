"""A database with as many finished runs as one likes, written without computing anything."""

from __future__ import annotations

import json
import random
from pathlib import Path

from engine.specs.study import Study, content_key
from engine.store import Payload, RunKeys, Writer
from engine.store.environments import environment_id
from engine.store.seals import seal_rows
from engine.store.stage_keys import STAGE_VERSIONS
from engine.store.telemetry import packed

STEPS = 50
"""Telemetry points of each run, beside the one of the clean images."""
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
        (
            run,
            RunKeys(
                content_key(wanted.name, place),
                content_key(wanted.name, run.compression),
                content_key(wanted.name),
            ),
        )
        for place, run in enumerate(wanted.runs())
    ]
    return store.add_study(wanted, keyed).run_ids


def fill(path: Path, runs: int) -> None:
    """Store that many finished runs, in studies of 500, with all that a run without samples has."""
    curves = [packed(points(seed)) for seed in range(100)]
    with Writer(path) as store:
        for number in range(max(1, runs // _A_STUDY)):
            ids = queue(store, study(f"study {number}", number, min(runs, _A_STUDY)))
            variants = store.db.query(
                "SELECT DISTINCT variant_key FROM runs WHERE id BETWEEN ? AND ?", (ids[0], ids[-1])
            )
            for key in [row["variant_key"] for row in variants]:
                store.put_stage(key, "variant", {"steps": []}, 0.1)
            store.put_stage(content_key("gate"), "diagnostics", {"numbers": {}}, 0.1)
            with store.db.atomic():
                machine = environment_id(store.db, _environment(number))
                store.db.conn.executemany(
                    "INSERT INTO batches (run_id, start, size, seconds, telemetry, notes) "
                    "VALUES (?, 0, 100, 1.5, ?, '[]')",
                    [(run_id, curves[run_id % len(curves)]) for run_id in ids],
                )
                store.db.conn.executemany(
                    "UPDATE runs SET status = 'finished', n = 100, done = 100, total = 100, "
                    "clean_accuracy = 0.97, robust_accuracy = ?, ci_low = 0.3, ci_high = 0.7, "
                    "compression_rate = 2.0, parameters = 77754, nonzero_parameters = 38877, "
                    "size_bytes = 156852, dense_bytes = 313704, file_bytes = 318104, "
                    "achieved_sparsity = 0.5, weight_bits = 32.0, avg_perturbation_linf = 0.1, "
                    "avg_perturbation_l2 = 1 / 3.0, queries_per_sample = 41.0, seconds = 1.5, "
                    "verdict = ?, checks = ?, environment_id = ?, "
                    "started = created, finished = created WHERE id = ?",
                    [
                        ((run_id * 37 % 101) / 100, _verdict(run_id), _CHECKS, machine, run_id)
                        for run_id in ids
                    ],
                )
                seal_rows(store.db, "runs", "id BETWEEN ? AND ?", (ids[0], ids[-1]))


def points(seed: int) -> list[Payload]:
    """Telemetry of an attack on 100 images, as one gives it."""
    rng = random.Random(seed)
    told: list[Payload] = []
    active, seconds, forwards = 100, 0.0, 0
    for step in range(STEPS + 1):
        active -= rng.randrange(2) if step else 0
        seconds, forwards = seconds + rng.uniform(0.02, 0.03), forwards + active
        told.append(
            {
                "step": step,
                "total": 100,
                "broken": 100 - active,
                "active": active,
                "loss": 2.1 * (1 - 0.85**step) + rng.random() / 10,
                "margin": 4 - 0.07 * step + rng.random() / 10,
                "step_size": 0.02,
                "forwards": forwards,
                "backwards": forwards - 100,
                "seconds": seconds,
                "part": "",
            }
        )
    return told


def _verdict(run_id: int) -> str:
    return json.dumps(
        {
            "rivals": 1,
            "flags": [],
            "agree": False,
            "kinds": ["gradient"],
            "survivors": run_id * 37 % 101,
            "closest": None,
        }
    )


_CHECKS = json.dumps(
    {"gate": content_key("gate"), "traits": ["gradient", "iterative"], "survivors": []}
)


def _environment(number: int) -> Payload:
    return {
        "versions": dict.fromkeys(
            ("crumple", "python", "torch", "torchvision", "torchattacks", "numpy"), "2.14.1"
        ),
        "stages": STAGE_VERSIONS,
        "device": "cpu",
        "device_description": "cpu, 1 thread",
        "platform": "Linux-6.18.44-x86_64-with-glibc2.36",
        "processors": 2,
        "threads": 1,
        "precision": "fp32",
        "batch_size": 500,
        "data_fingerprint": content_key("data", number),
        "variant_fingerprint": content_key("variant", number),
        "class_names": [str(digit) for digit in range(10)],
    }
