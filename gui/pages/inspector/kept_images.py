"""The kept images of a run with their verdicts, in words and in order; no widgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.catalog import format_number
from engine.store import SampleRow, Store

Pixels = NDArray[np.float32]
Kind = Literal["clean", "adversarial"]

SHOWN: dict[str, tuple[str, Callable[[SampleRow], bool]]] = {
    "all": ("all images", lambda row: True),
    "flipped": ("flipped by the attack", lambda row: flipped(row)),
    "held": ("held", lambda row: not row["broken"]),
    "wrong": ("wrong before the attack", lambda row: row["clean_prediction"] != row["label"]),
}
ORDERS: dict[str, tuple[str, Callable[[SampleRow], float]]] = {
    "flipped": ("flipped first", lambda row: not flipped(row)),
    "index": ("index", lambda row: row["index"]),
    "l2": ("L2, smallest first", lambda row: row["l2"]),
    "drop": ("confidence drop", lambda row: -confidence_drop(row)),
}


@dataclass(frozen=True)
class KeptImages:
    """What one run kept.

    Attributes:
        samples: one row per image, as far as images were kept.
        clean: (K,C,H,W) in [0,1].
        adversarial: the same shape.
        class_names: in the order of the labels; empty if unknown.
    """

    run_id: int
    samples: tuple[SampleRow, ...]
    clean: Pixels
    adversarial: Pixels
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def name(self, label: int) -> str:
        """The name of a class."""
        known = 0 <= label < len(self.class_names)
        return self.class_names[label] if known else str(label)

    def delta(self, index: int) -> Pixels:
        """The perturbation of one image."""
        result: Pixels = self.adversarial[index] - self.clean[index]
        return result

    def places(self, shown: str, order: str) -> list[int]:
        """The images of one kind (``SHOWN``) in one order (``ORDERS``)."""
        wanted, key = SHOWN[shown][1], ORDERS[order][1]
        places = [i for i, row in enumerate(self.samples) if wanted(row)]
        return sorted(places, key=lambda i: (key(self.samples[i]), i))


def read_examples(store: Store, run_id: int) -> KeptImages:
    """Read what a run kept; of length 0 if that is nothing."""
    images = store.images(run_id)
    samples = store.samples(run_id)[: len(images["index"])]
    names = store.run(run_id)["environment"].get("class_names") or ()
    kept = len(samples)
    return KeptImages(
        run_id,
        tuple(samples),
        images["clean"][:kept],
        images["adversarial"][:kept],
        tuple(str(name) for name in names),
    )


def flipped(row: SampleRow) -> bool:
    """Whether the attack, and not the model itself, got the image wrong."""
    return bool(row["broken"] and row["clean_prediction"] == row["label"])


def confidence_drop(row: SampleRow) -> float:
    """How far the attack moved the confidence.

    The confidence of a wrong answer counts as negative, so images that end up surely wrong
    come first.
    """
    stayed = row["adversarial_prediction"] == row["clean_prediction"]
    after = row["adversarial_confidence"] if stayed else -row["adversarial_confidence"]
    return float(row["clean_confidence"] - after)


def verdict(row: SampleRow) -> str:
    """What became of an image, in words."""
    if row["clean_prediction"] != row["label"]:
        return "wrong before the attack"
    if not row["broken"]:
        return "held"
    step = row["broken_at_step"]
    return f"broken at step {step}" if step > 0 else "broken"


def figures(examples: KeptImages, index: int) -> dict[str, str]:
    """The numbers of one image as texts."""
    row = examples.samples[index]
    by = row["settled_by"] if row["broken_at_step"] > 0 else ""
    return {
        "verdict": f"{verdict(row)}, by {by}" if by else verdict(row),
        "label": f"{examples.name(row['label'])}   (image {row['index']})",
        "clean": prediction(examples, row, "clean"),
        "adversarial": prediction(examples, row, "adversarial"),
        "linf": format_number(row["linf"]),
        "l2": f"{row['l2']:.3f}",
        "forwards": str(row["forwards"]),
        "backwards": str(row["backwards"]),
    }


def prediction(examples: KeptImages, row: SampleRow, kind: Kind) -> str:
    """A prediction with its confidence: ``8, 91.0 %``."""
    if kind == "clean":
        label, confidence = row["clean_prediction"], row["clean_confidence"]
    else:
        label, confidence = row["adversarial_prediction"], row["adversarial_confidence"]
    return f"{examples.name(label)}, {100 * confidence:.1f} %"


def pair_text(examples: KeptImages, index: int) -> str:
    """``3 → 8`` for an image whose prediction changed, ``3`` for the others."""
    row = examples.samples[index]
    before, after = row["clean_prediction"], row["adversarial_prediction"]
    if before == after:
        return examples.name(before)
    return f"{examples.name(before)} → {examples.name(after)}"


def fitting_factor(examples: KeptImages, factors: Sequence[float]) -> float:
    """The largest of the factors that shows the largest perturbation without cutting it off."""
    most = max((row["linf"] for row in examples.samples), default=0.0)
    fitting = [factor for factor in factors if factor * most <= 1]
    return max(fitting, default=min(factors))
