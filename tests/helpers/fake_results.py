"""A database with the results of a small study, made without computing anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from engine.specs.choices import make_attack, make_step
from engine.specs.dataset import DatasetSpec
from engine.specs.study import ModelSpec, Run, Study, content_key
from engine.statistics.intervals import wilson
from engine.store import RunKeys, Writer

STUDY = "Digits: prune, quantise, attack"
MODELS = ("digits-resnet", "digits-resnet-at")
STEPS = 20
MASKED = {
    "id": "gradient-masking",
    "level": "danger",
    "text": "Likely gradient masking: transferred examples break more images than the attack.",
}
_RECIPES: tuple[tuple[dict[str, Any], ...], ...] = (
    (),
    ({"name": "magnitude", "sparsity": 0.5},),
    ({"name": "magnitude", "sparsity": 0.9},),
    ({"name": "ptq", "bits": 4},),
    ({"name": "ptq", "bits": 2},),
)
_RATES = (1.0, 1.9, 8.4, 7.6, 14.2)
# Share of images that hold, by model and recipe: PGD first, then FGSM.
_HOLDS = {
    "digits-resnet": ((0.12, 0.11, 0.08, 0.13, 0.55), (0.40, 0.39, 0.22, 0.38, 0.60)),
    "digits-resnet-at": ((0.72, 0.70, 0.52, 0.69, 0.31), (0.80, 0.78, 0.61, 0.77, 0.44)),
}


@dataclass(frozen=True)
class FakeResults:
    """What ``fill`` wrote.

    Attributes:
        ids: run id by (model, compression, attack id).
        failed: the run that failed.
        flagged: the run with a flag of level danger.
        waiting: the run that has not started.
    """

    path: Path
    study_id: int
    ids: dict[tuple[str, str, str], int]
    failed: int
    flagged: int
    waiting: int


def fill(path: Path, *, images: int = 60, kept: int = 24) -> FakeResults:
    """Write twenty runs: 2 models x 5 variants x 2 attacks; one failed, one flagged, one waits."""
    runs = _runs(images)
    study = _study(images)
    pairs = [(run, _keys(run)) for run in runs]
    with Writer(path) as writer:
        queued = writer.add_study(study, pairs)
        ids = {
            (run.model, run.compression, run.attack.name): run_id
            for run, run_id in zip(runs, queued.run_ids, strict=True)
        }
        failed = ids["digits-resnet", "ptq w2", "fgsm"]
        waiting = ids["digits-resnet-at", "ptq w2", "fgsm"]
        flagged = ids["digits-resnet", "ptq w2", "pgd"]
        pictures, labels = _digits(images)
        writer.keep_images(pairs[0][1].data, {"images": pictures})
        for number, (run, keys) in enumerate(pairs):
            run_id = queued.run_ids[number]
            if run_id == waiting:
                continue
            writer.start_run(run_id, images)
            if run_id == failed:
                writer.end_run(
                    run_id,
                    "failed",
                    message="The activations of layer 'stem' are not finite.",
                    hint="Use more bits, or keep the first layer in fp32.",
                )
                continue
            _finish(writer, run_id, run, keys, pictures, labels, kept, run_id == flagged)
    return FakeResults(path, queued.study_id, ids, failed, flagged, waiting)


def _runs(images: int) -> list[Run]:
    attacks = (
        make_attack({"name": "pgd", "eps": 0.15, "steps": STEPS}),
        make_attack({"name": "fgsm", "eps": 0.15}),
    )
    recipes = [tuple(make_step(step) for step in recipe) for recipe in _RECIPES]
    return [
        Run(
            dataset=DatasetSpec(name="digits", limit=images),
            model=model,
            recipe=recipe,
            attack=attack,
        )
        for model in MODELS
        for recipe in recipes
        for attack in attacks
    ]


def _study(images: int) -> Study:
    return Study.model_construct(
        name=STUDY,
        seed=0,
        keep_images=200,
        dataset=DatasetSpec(name="digits", limit=images),
        models=tuple(ModelSpec.model_construct(name=name) for name in MODELS),
        compressions=tuple({**recipe[0]} for recipe in _RECIPES if recipe),
        attacks=({"name": "pgd", "eps": 0.15, "steps": STEPS}, {"name": "fgsm", "eps": 0.15}),
    )


def _keys(run: Run) -> RunKeys:
    return RunKeys(
        run=content_key(run.model_dump(mode="json")),
        variant=content_key(run.model, run.compression),
        data=content_key(run.dataset.model_dump(mode="json")),
    )


def _digits(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    bunch = load_digits()
    pictures = (bunch.images[:count] / 16.0).astype(np.float32)[:, None]
    return pictures, bunch.target[:count].astype(np.int64)


def _finish(
    writer: Writer,
    run_id: int,
    run: Run,
    keys: RunKeys,
    pictures: NDArray[np.float32],
    labels: NDArray[np.int64],
    kept: int,
    flagged: bool,
) -> None:
    n = len(labels)
    column = 0 if run.attack.name == "pgd" else 1
    recipe = [tuple(make_step(step) for step in one) for one in _RECIPES].index(run.recipe)
    hold = _HOLDS[run.model][column][recipe]
    # One difficulty per image for all runs, so that runs differ in pairs as real ones do.
    difficulty = np.random.default_rng(5).permutation(n) / n
    noise = np.random.default_rng(run_id).normal(0, 0.06, n)
    broken = difficulty + noise > hold
    wrong = broken & (difficulty + noise > 0.965)
    steps = STEPS if run.attack.name == "pgd" else 1
    at = np.where(broken, np.minimum(1 + ((1 - difficulty) * steps).astype(int), steps), -1)
    at = np.where(wrong, 0, at)
    adversarial = _perturb(pictures, run_id, wrong)
    samples = _samples(labels, broken, wrong, at, adversarial - pictures)
    images = {"index": np.arange(min(kept, n)), "adversarial": adversarial[:kept]}
    batch = {"start": 0, "size": n, "seconds": 1.5, "telemetry": _points(at, steps), "notes": []}
    writer.add_batch(run_id, batch, samples, images)
    writer.put_stage(keys.variant, "variant", {"flags": []}, 0.1)
    writer.end_run(
        run_id, "finished", **_columns(recipe, broken, wrong, samples, [MASKED] if flagged else [])
    )


def _perturb(
    pictures: NDArray[np.float32], seed: int, wrong: NDArray[np.bool_]
) -> NDArray[np.float32]:
    signs = np.sign(np.random.default_rng(seed).normal(size=pictures.shape))
    moved = np.clip(pictures + 0.15 * signs, 0, 1)
    return np.where(wrong[:, None, None, None], pictures, moved).astype(np.float32)


def _samples(
    labels: NDArray[np.int64],
    broken: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
    at: NDArray[np.int64],
    delta: NDArray[np.float32],
) -> list[dict[str, Any]]:
    other = (labels + 1 + np.arange(len(labels)) % 3) % 10
    flat = np.abs(delta.reshape(len(labels), -1))
    return [
        {
            "index": i,
            "label": int(labels[i]),
            "clean_prediction": int(other[i] if wrong[i] else labels[i]),
            "adversarial_prediction": int(other[i] if broken[i] else labels[i]),
            "clean_confidence": round(0.9 + 0.001 * (i % 97), 4),
            "adversarial_confidence": round(0.5 + 0.005 * ((i * 37) % 97), 4),
            "broken": bool(broken[i]),
            "l2": float(np.sqrt((flat[i] ** 2).sum())),
            "linf": float(flat[i].max()),
            "forwards": 22,
            "backwards": 20,
            "broken_at_step": int(at[i]),
        }
        for i in range(len(labels))
    ]


def _points(at: NDArray[np.int64], steps: int) -> list[dict[str, Any]]:
    def active(step: int) -> int:
        return int(((at < 0) | (at >= max(step, 1))).sum())

    return [
        {
            "step": step,
            "total": len(at),
            "broken": int(((at >= 0) & (at <= step)).sum()),
            "active": active(step),
            "loss": 0.2 + 2.1 * (1 - 0.85**step),
            "margin": 4.0 - 0.2 * step,
            "step_size": 0.02,
        }
        for step in range(steps + 1)
    ]


def _columns(
    recipe: int,
    broken: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
    samples: list[dict[str, Any]],
    flags: list[dict[str, str]],
) -> dict[str, Any]:
    n = len(broken)
    held = int(n - broken.sum())
    low, high = wilson(held, n)
    found = [row for row in samples if row["broken"] and row["broken_at_step"] > 0]
    parameters = 77_000
    return {
        "n": n,
        "done": n,
        "compression_rate": _RATES[recipe],
        "parameters": parameters,
        "nonzero_parameters": int(parameters * (1, 0.5, 0.1, 1, 1)[recipe]),
        "size_bytes": int(310_000 / _RATES[recipe]),
        "dense_bytes": 310_000,
        "file_bytes": int(320_000 / _RATES[recipe]),
        "achieved_sparsity": (0.0, 0.5, 0.9, 0.0, 0.0)[recipe],
        "weight_bits": (32, 32, 32, 4, 2)[recipe],
        "clean_accuracy": 1 - float(wrong.sum()) / n,
        "robust_accuracy": held / n,
        "ci_low": float(low),
        "ci_high": float(high),
        "avg_perturbation_l2": float(np.mean([row["l2"] for row in found])),
        "avg_perturbation_linf": float(np.mean([row["linf"] for row in found])),
        "queries_per_sample": 22.0,
        "seconds": 1.5 + 0.01 * recipe,
        "flags": flags,
        "environment": {"class_names": [str(digit) for digit in range(10)], "device": "cpu"},
    }
