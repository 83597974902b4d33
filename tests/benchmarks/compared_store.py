"""What the Compare page is measured with: wide studies, security curves and pairs of others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.specs.study import Run, Study
from engine.statistics.intervals import wilson
from engine.store import Writer
from engine.store.seals import seal_rows
from engine.store.telemetry import packed
from tests.benchmarks.large_store import points, queue

SIZES = (40, 500, 5_000)
CURVES, IMAGES = 200, 100
"""Security curves, and images of each of their runs."""
_GROUP = 50
_FLAG = '[{"id": "gradient-masking", "level": "danger", "text": "Likely gradient masking."}]'


def name_of(runs: int) -> str:
    """The name of the study of that many runs."""
    return f"{runs} runs compared"


def fill_studies(path: Path) -> None:
    """Store studies of ``SIZES`` runs of many series, and one of ``CURVES`` security curves."""
    with Writer(path) as store:
        for size, variants, radii in zip(SIZES, (8, 10, 50), (3, 25, 50), strict=True):
            wanted = _wide(name_of(size), variants, radii, size // variants - radii)
            ids = _finish(store, wanted)
            if size == SIZES[0]:
                _pairs(store, _by_attack(wanted, ids))
        wanted = _curves()
        _samples(store, wanted, _finish(store, wanted))


def add_pairs(path: Path, pairs: int) -> None:
    """Judge about as many pairs, among the first runs of the database in groups of 50."""
    with Writer(path) as store:
        ids = [row[0] for row in store.db.conn.execute("SELECT id FROM runs ORDER BY id")]
        starts = range(0, _GROUP * max(1, pairs // _GROUP**2), _GROUP)
        _pairs(store, [ids[start : start + _GROUP] for start in starts])


def judge(path: Path, run_id: int, share: float) -> None:
    """Another process gives a run this robust accuracy."""
    with Writer(path) as store, store.db.atomic():
        store.db.execute("UPDATE runs SET robust_accuracy = ? WHERE id = ?", (share, run_id))
        seal_rows(store.db, "runs", "id = ?", (run_id,))


def _wide(name: str, variants: int, *radii: int) -> Study:
    pruned = (variants - 1) // 2
    steps = [
        {"name": "magnitude", "sparsity": _shares(pruned)},
        {"name": "filter", "ratio": _shares(variants - 1 - pruned)},
    ]
    attacks = [
        {"name": attack, "eps": [(i + 1) / 200 for i in range(number)]}
        for attack, number in zip(("pgd", "fgsm"), radii, strict=True)
    ]
    return _study(name, steps, attacks)


def _curves() -> Study:
    steps = [{"name": "magnitude", "sparsity": _shares(CURVES - 1)}]
    attacks = [{"name": "fmn", "norm": "L2"}, {"name": "pgd-l2", "eps": 1.0}]
    return _study(f"{CURVES} curves", steps, attacks)


def _study(name: str, steps: list[dict[str, Any]], attacks: list[dict[str, Any]]) -> Study:
    return Study.from_dict(
        {
            "name": name,
            "dataset": {"name": "digits", "limit": IMAGES},
            "model": [{"name": "digits-resnet"}],
            "compression": steps,
            "attack": attacks,
        }
    )


def _shares(number: int) -> list[float]:
    return [round(0.05 + 0.9 * i / number, 4) for i in range(number)]


def _finish(store: Writer, wanted: Study) -> tuple[int, ...]:
    ids = queue(store, wanted)
    with store.db.atomic():
        store.db.conn.executemany(
            "UPDATE runs SET status = 'finished', n = :n, done = :n, total = :n, "
            "clean_accuracy = 0.97 - :removed / 5, robust_accuracy = :robust, ci_low = :low, "
            "ci_high = :high, compression_rate = 1 / (1 - :removed), size_bytes = "
            "1000000 * (1 - :removed), achieved_sparsity = :removed, nonzero_parameters = "
            "250000 * (1 - :removed), seconds = 1.5, queries_per_sample = 41, flags = :flags, "
            "verdict = '{}', checks = '{}', started = created, finished = created WHERE id = :id",
            _measured(wanted.runs(), ids),
        )
    return ids


def _measured(runs: Sequence[Run], ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    draw = np.random.default_rng(0)
    for run, run_id in zip(runs, ids, strict=True):
        removed = sum(step.params.get("sparsity") or step.params["ratio"] for step in run.recipe)
        eps = run.attack.eps
        share = 0.95 - 2 * min(eps or 0.2, 0.25) - removed / 4 + draw.normal() / 30
        held = int(IMAGES * np.clip(share, 0, 1))
        low, high = wilson(held, IMAGES)
        yield {
            "id": run_id,
            "n": IMAGES,
            "removed": removed,
            "robust": None if eps is None else held / IMAGES,
            "low": None if eps is None else float(low),
            "high": None if eps is None else float(high),
            "flags": _FLAG if run_id % 17 == 0 else "[]",
        }


def _samples(store: Writer, wanted: Study, ids: Sequence[int]) -> None:
    draw = np.random.default_rng(1)
    rows = []
    for run, run_id in zip(wanted.runs(), ids, strict=True):
        reach = draw.gamma(4, 0.3, IMAGES)
        broken = np.ones(IMAGES, bool) if run.attack.eps is None else reach <= run.attack.eps
        rows += [
            (run_id, i, i, i % 10, i % 10, 0, 0.9, 0.5, int(broken[i]), float(l2), float(l2) / 5)
            for i, l2 in enumerate(reach)
        ]
    with store.db.atomic():
        store.db.conn.executemany(
            'INSERT INTO samples (run_id, place, "index", label, clean_prediction, '
            "adversarial_prediction, clean_confidence, adversarial_confidence, broken, l2, linf, "
            "forwards, backwards, broken_at_step) "
            f"VALUES ({', '.join('?' * 11)}, 5, 4, 1)",
            rows,
        )
        store.db.conn.executemany(  # without its batches a run is damaged
            "INSERT INTO batches (run_id, start, size, seconds, telemetry, notes) "
            "VALUES (?, 0, ?, 1.5, ?, '[]')",
            [(run_id, IMAGES, packed(points(run_id))) for run_id in ids],
        )


def _by_attack(wanted: Study, ids: Sequence[int]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for run, run_id in zip(wanted.runs(), ids, strict=True):
        groups.setdefault(run.attack.label, []).append(run_id)
    return list(groups.values())


def _pairs(store: Writer, groups: Sequence[Sequence[int]]) -> None:
    with store.db.atomic():
        store.db.conn.executemany(
            "INSERT INTO transfers (source_run, target_run, key, status, kept, broken, n, fooled, "
            "seconds, finished, wrong) VALUES (?, ?, ?, 'finished', 30, 9, 20, ?, 0.1, 'now', '')",
            (
                (source, target, f"{source} {target}", (3 * source + target) % 20)
                for group in groups
                for source in group
                for target in group
            ),
        )
