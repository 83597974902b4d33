"""The statistics stage: from verdicts to the row of the results table, with its flags."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import numpy as np
import torch

from engine import __version__, device
from engine.attacks.lost import lost_examples
from engine.curves import distances
from engine.data import ImageSet
from engine.diagnostics import (
    Flag,
    black_box_flag,
    compare,
    lost_flag,
    transfer_check,
    transfer_flag,
    unfinished_flag,
)
from engine.plan import STAGE_VERSIONS
from engine.specs import Run
from engine.statistics import wilson
from engine.store import Row, Writer
from engine.variants import LoadedVariant


def summarise(
    store: Writer,
    run_id: int,
    parent_id: int | None,
    images: ImageSet,
    variant: LoadedVariant,
    gate: Row,
    black_box: list[bool],
) -> Row:
    """All result columns of a run whose every image is judged.

    Args:
        store: holds the verdicts.
        run_id: the run.
        parent_id: the finished run of the base model under the same attack, whose examples
            are tried on this variant; the run itself if it is the baseline; None if missing.
        images: what was attacked.
        variant: the deployed model.
        gate: what the gate said (``Variants.examine``).
        black_box: what a gradient-free attack broke of the first images
            (``Variants.black_box``); empty if it was not tried.
    """
    samples = store.samples(run_id)
    batches = store.batches(run_id)
    transfer, transfer_flags = _transfer(store, run_id, parent_id, images, variant, samples)
    rival, rival_flags = _black_box(samples, black_box)
    run = store.run(run_id)
    gate_flags = [Flag.from_dict(flag) for flag in gate["flags"]]
    flags = (
        gate_flags
        + transfer_flags
        + rival_flags
        + _minimum_norm(run, samples)
        + _search_flags(run["spec"], store.curve(run_id), batches, len(samples))
    )
    unique = {(flag.id, flag.text): flag.to_dict() for flag in flags}
    return {
        **_accuracies(samples),
        **_perturbations(samples),
        **_sizes(variant.accounting),
        **transfer,
        **rival,
        "queries_per_sample": float(np.mean([s["forwards"] + s["backwards"] for s in samples])),
        "seconds": sum(row["seconds"] for row in batches),
        "flags": list(unique.values()),
    }


def _accuracies(samples: list[Row]) -> Row:
    n = len(samples)
    robust = sum(not row["broken"] for row in samples)
    low, high = wilson(robust, n)
    clean = sum(row["clean_prediction"] == row["label"] for row in samples)
    return {
        "n": n,
        "clean_accuracy": clean / n,
        "robust_accuracy": robust / n,
        "ci_low": float(low),
        "ci_high": float(high),
    }


def _perturbations(samples: list[Row]) -> Row:
    """Means over successful examples only: images the attack itself broke."""
    found = [row for row in samples if row["broken"] and row["clean_prediction"] == row["label"]]
    return {
        f"avg_perturbation_{norm}": float(np.mean([row[norm] for row in found])) if found else None
        for norm in ("l2", "linf")
    }


def _minimum_norm(run: Row, samples: list[Row]) -> list[Flag]:
    """Without an eps it is how far the examples are that counts, not how many there are."""
    norm = run["norm"]
    if run["eps"] is not None or not norm:
        return []
    found = distances(samples, norm)
    text = (
        "The attack has no eps, so its result is the distances and not the robust accuracy: "
        f"median {np.median(found):.4g} ({norm}; 0 where misclassified clean), "
        f"no example for {int(np.isinf(found).sum())} of {len(found)} images."
    )
    return [Flag("minimum-norm", "info", text)]


def _search_flags(spec: Row, curve: list[Row], batches: list[Row], total: int) -> list[Flag]:
    """What the attack's own course and notes say about it."""
    notes = [note for row in batches for note in row["notes"]]
    attack = Run.model_validate(spec).attack
    found = [unfinished_flag(attack, curve, total), lost_flag(notes, total)]
    others = [note for note in notes if lost_examples(note) is None]
    return [
        *(flag for flag in found if flag),
        *(Flag("attack-note", "info", note) for note in others),
    ]


def _sizes(accounting: Row) -> Row:
    columns = {
        "compression_rate": "compression_rate",
        "parameters": "parameters",
        "nonzero_parameters": "nonzero_parameters",
        "size_bytes": "packed_bytes",
        "dense_bytes": "dense_bytes",
        "file_bytes": "file_bytes",
        "achieved_sparsity": "sparsity",
        "weight_bits": "weight_bits",
    }
    return {column: accounting[name] for column, name in columns.items()}


def _transfer(
    store: Writer,
    run_id: int,
    parent_id: int | None,
    images: ImageSet,
    variant: LoadedVariant,
    samples: list[Row],
) -> tuple[Row, list[Flag]]:
    """Judge the parent's examples on this variant (rule 3): if they do better, say so."""
    if parent_id == run_id:
        return {}, []
    kept = store.images(parent_id)["adversarial"] if parent_id is not None else np.zeros(0)
    if not len(kept):
        missing = "is not finished" if parent_id is None else "keeps no images"
        text = f"Not checked against transferred examples: the baseline run {missing}."
        return {}, [Flag("no-transfer-check", "warning", text)]
    count = len(kept)
    check = transfer_check(
        variant.deployed,
        torch.from_numpy(kept).to(variant.device),
        images.labels[:count].to(variant.device),
        torch.tensor([row["broken"] for row in samples[:count]], device=variant.device),
    )
    flag = transfer_flag(check)
    numbers = {"transfer_accuracy": 1 - check.rival / count, "transfer_n": count}
    return numbers, [flag] if flag else []


def _black_box(samples: list[Row], broken: list[bool]) -> tuple[Row, list[Flag]]:
    """Compare with the gradient-free attack on the same images (rule 3)."""
    if not broken:
        return {}, []
    count = len(broken)
    whitebox = torch.tensor([row["broken"] for row in samples[:count]])
    duel = compare(whitebox, torch.tensor(broken))
    flag = black_box_flag(duel)
    numbers = {"black_box_accuracy": 1 - duel.rival / count, "black_box_n": count}
    return numbers, [flag] if flag else []


def environment(where: torch.device, options: Any, images: ImageSet, variant: LoadedVariant) -> Row:
    """Everything beside the spec that is needed to get the same numbers again."""
    packages = ("torch", "torchvision", "torchattacks", "numpy")
    return {
        "versions": {
            "crumple": __version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in packages},
        },
        "stages": STAGE_VERSIONS,
        "device": str(where),
        "device_description": device.describe(where),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": options.precision,
        "batch_size": options.batch_size,
        "data_fingerprint": images.fingerprint,
        "variant_fingerprint": variant.fingerprint,
        "class_names": list(images.class_names),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
