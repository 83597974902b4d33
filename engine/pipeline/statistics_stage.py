"""The statistics stage: from verdicts to the row of the results table, with its flags."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine import __version__
from engine.attacks.search.notes import LOST, Note, added_up
from engine.data import ImageSet
from engine.diagnostics import (
    Checked,
    came_to_its_end,
    lost_flag,
    naive_flags,
    naive_numbers,
    survivor_flags,
    transfer_check,
    transfer_flag,
    unfinished_flag,
)
from engine.errors import StoreError
from engine.flags import ABOUT_GRADIENTS, Flag, relevant
from engine.host import device
from engine.pipeline.variants import LoadedVariant
from engine.specs.choices import AttackSpec
from engine.specs.study import Run
from engine.statistics.intervals import wilson
from engine.statistics.run_checks import run_checks
from engine.statistics.security_curves import distances
from engine.store import BatchRow, CurveRow, Payload, RunRow, SampleRow, Writer
from engine.store.stage_keys import STAGE_VERSIONS


def summarise(
    store: Writer,
    run_id: int,
    parent_id: int | None,
    images: ImageSet,
    variant: LoadedVariant,
    gate: Payload,
    checks: Sequence[Checked],
) -> Payload:
    """All result columns of a run whose every image is judged.

    Args:
        store: holds the verdicts.
        run_id: the run.
        parent_id: the finished run of the base model under the same attack, whose examples
            are tried on this variant; the run itself if it is the baseline; None if missing.
        images: what was attacked.
        variant: the deployed model.
        gate: what the gate said (``Variants.examine``).
        checks: what other searches did to the images that the attack left.
    """
    samples = store.samples(run_id)
    batches = store.batches(run_id)
    transfer, transfer_flags = _transfer(store, run_id, parent_id, images, variant, samples)
    run, curve = store.run(run_id), store.curve(run_id)
    spec = Run.model_validate(run["spec"])
    attack = spec.attack
    gate_flags = [Flag.from_dict(flag) for flag in gate["flags"]]
    flags = (
        gate_flags
        + step_flags(store.variant(run_id).get("steps", []), gate_flags)
        + transfer_flags
        + survivor_flags(checks)
        + naive_flags(checks)
        + _minimum_norm(run, samples)
        + _second_attack(spec)
        + _search_flags(attack, curve, batches, len(samples))
    )
    told = relevant(
        flags,
        follows_gradient="gradient" in attack.traits,
        held=attack.eps is None or not all(row["broken"] for row in samples),
    )
    unique = {(flag.id, flag.text): flag.to_dict() for flag in told}
    result = {
        **_accuracies(samples),
        **_perturbations(samples),
        **_sizes(variant.accounting),
        **transfer,
        **_gradient_free(checks),
        "checks": {
            "gate": gate.get("key"),
            "traits": sorted(attack.traits),
            "came_to_its_end": came_to_its_end(attack, curve),
            "survivors": [check.to_dict() for check in checks],
            "naive": naive_numbers(checks),
        },
        "queries_per_sample": float(np.mean([s["forwards"] + s["backwards"] for s in samples])),
        "seconds": sum(row["seconds"] for row in batches),
        "flags": list(unique.values()),
    }
    result["checks"]["made"] = _checks_made({**run, **result}, gate)
    return result


def _checks_made(row: Payload, gate: Payload) -> list[Payload]:
    """What every check says of a run that ends with this row."""
    ended = {"status": "finished", "environment": {"stages": STAGE_VERSIONS}}
    return [check.to_dict() for check in run_checks({**row, **ended}, gate["numbers"])]


def _accuracies(samples: list[SampleRow]) -> Payload:
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


def _perturbations(samples: list[SampleRow]) -> Payload:
    """Means over successful examples only: images the attack itself broke."""
    found = [row for row in samples if row["broken"] and row["clean_prediction"] == row["label"]]
    return {
        f"avg_perturbation_{norm}": float(np.mean([row[norm] for row in found])) if found else None
        for norm in ("l2", "linf")
    }


def _minimum_norm(run: RunRow, samples: list[SampleRow]) -> list[Flag]:
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


def _second_attack(spec: Run) -> list[Flag]:
    if spec.attack_seed is None:
        return []
    text = (
        f"A second attack on what seed {spec.seed} trained, with the seed {spec.attack_seed}: it "
        "tells how much the attack alone varies, and is no repeat of its own."
    )
    return [Flag("second-attack", "info", text)]


def step_flags(steps: Sequence[Payload], gate: Sequence[Flag]) -> list[Flag]:
    """What the steps of a recipe warn of: what was asked for and not done, or done too much.

    What the gate says of the whole variant is not said again of its last step, and how the
    gradients were on the way does not matter any more. A step that ruined the variant and was
    mended by a later one is a warning.

    Args:
        steps: records of the steps (``recipe_stage.Made``).
        gate: flags of the finished variant.
    """
    known = {flag.id for flag in gate}
    found = []
    for number, record in enumerate(steps, 1):
        for flag in map(Flag.from_dict, record.get("flags", ())):
            last = number == len(steps)
            if flag.id in ABOUT_GRADIENTS or (last and flag.id in known):
                continue
            level = "warning" if flag.level == "danger" else flag.level
            text = flag.text
            if flag.id == "near-chance" and not last:
                text = "clean accuracy fell to near guessing; what follows starts from a ruin."
            found.append(Flag(flag.id, level, f"Step {number}, {record['step']}: {text}"))
    return found


def _search_flags(
    attack: AttackSpec, curve: list[CurveRow], batches: list[BatchRow], total: int
) -> list[Flag]:
    """What the attack's own course and notes say about it."""
    notes = added_up(Note.from_stored(note) for row in batches for note in row["notes"])
    found = [unfinished_flag(attack, curve, total), lost_flag(notes, total)]
    others = [note for note in notes if note.kind != LOST]
    return [
        *(flag for flag in found if flag),
        *(Flag("attack-note", "info", str(note)) for note in others),
    ]


def _sizes(accounting: Payload) -> Payload:
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
    samples: list[SampleRow],
) -> tuple[Payload, list[Flag]]:
    """Judge the parent's examples on this variant (rule 3): if they do better, say so."""
    if parent_id == run_id:
        return {}, []
    kept, missing = _baseline_examples(store, parent_id)
    if missing:
        text = f"Not checked against transferred examples: {missing}"
        return {}, [Flag("no-transfer-check", "warning", text)]
    count = len(kept)
    check = transfer_check(
        variant.deployed,
        torch.from_numpy(kept),
        images.labels[:count].to(variant.device),
        torch.tensor([row["broken"] for row in samples[:count]], device=variant.device),
    )
    flag = transfer_flag(check)
    numbers = {"transfer_accuracy": 1 - check.rival / count, "transfer_n": count}
    return numbers, [flag] if flag else []


def _baseline_examples(store: Writer, parent_id: int | None) -> tuple[NDArray[Any], str]:
    """The adversarial images that the baseline run kept, or why there are none."""
    none = np.zeros(0, np.float32)
    if parent_id is None:
        return none, "the baseline run is not finished."
    try:
        kept = store.images(parent_id)["adversarial"]
    except StoreError as error:  # a file of them is missing or damaged; this run is not
        return none, error.message
    return kept, "" if len(kept) else "the baseline run keeps no images."


def _gradient_free(checks: Sequence[Checked]) -> Payload:
    """Of the survivors that Square was tried on, the share that it did not break either."""
    made = [check for check in checks if check.gradient_free and check.tried and not check.naive]
    if not made:
        return {}
    (check,) = made
    held = 1 - len(check.broken) / check.tried
    return {"black_box_accuracy": held, "black_box_n": check.tried}


def environment(
    where: torch.device, options: Any, images: ImageSet, variant: LoadedVariant
) -> Payload:
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
