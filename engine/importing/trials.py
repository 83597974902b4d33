"""Settings that no checkpoint tells, tried on a few hundred images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from engine.attacks.chunks import in_chunks
from engine.compression.counting import count_macs
from engine.data import ImageSet
from engine.device import batch_size
from engine.importing.report import Scaling, Trial
from engine.models.normalised import Normalised
from engine.statistics import mcnemar_greater

SIGNIFICANCE = 0.01
_FEWEST, _MOST = 128, 500
_BUDGET = 2.5e11
"""Multiply-accumulates of one trial: seconds on a CPU."""

_COLOUR = (
    Scaling(label="CIFAR-10 constants", mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)),
    Scaling(
        label="CIFAR-10, other std", mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)
    ),
    Scaling(label="ImageNet constants", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    Scaling(label="0.5 and 0.5", mean=(0.5,) * 3, std=(0.5,) * 3),
)
_GREY = (
    Scaling(label="MNIST constants", mean=(0.1307,), std=(0.3081,)),
    Scaling(label="0.5 and 0.5", mean=(0.5,), std=(0.5,)),
)


@dataclass(frozen=True, eq=False)
class Outcome:
    """One setting on the trial images.

    Attributes:
        label: in words.
        right: (N,) bool.
        loss: mean cross-entropy; infinite if a logit is not finite.
    """

    label: str
    right: torch.Tensor
    loss: float

    @property
    def accuracy(self) -> float:
        """Share classified correctly."""
        return int(self.right.sum()) / len(self.right)

    def trial(self, chosen: bool) -> Trial:
        """The line of the report."""
        loss = min(self.loss, 1e9)
        return Trial(
            label=self.label,
            accuracy=self.accuracy,
            loss=loss,
            images=len(self.right),
            chosen=chosen,
        )


def scalings(images: ImageSet) -> list[Scaling | None]:
    """Plausible normalisations of a dataset; None is none."""
    pixels = images.images[:].transpose(0, 1).flatten(1).double()
    mean, std = pixels.mean(dim=1), pixels.std(dim=1)
    found: list[Scaling | None] = [None, *(_COLOUR if images.shape[0] == 3 else _GREY)]
    if bool((std > 0).all()):
        own = Scaling(label="the dataset's own", mean=tuple(mean.tolist()), std=tuple(std.tolist()))
        found.append(own)
    return found


def label_of(scaling: Scaling | None) -> str:
    """In words."""
    return "none" if scaling is None else scaling.label


def with_scaling(network: nn.Module, scaling: Scaling | None) -> nn.Module:
    """The network behind a normalisation."""
    return network if scaling is None else Normalised(network, scaling.mean, scaling.std)


def trial_images(network: nn.Module, images: ImageSet) -> int:
    """How many images a trial takes: fewer for large networks."""
    macs = max(sum(count_macs(network, images.shape).values()), 1)
    return min(len(images), max(_FEWEST, min(_MOST, int(_BUDGET / macs))))


def logits(model: nn.Module, images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """(N, classes) on the CPU, in eval mode."""
    model = model.to(device).eval()

    def ask(batch: torch.Tensor) -> list[torch.Tensor]:
        return in_chunks(model, len(batch), lambda part: model(batch[part].to(device)).cpu())

    with torch.inference_mode():
        found = [one for batch in torch.split(images, batch_size(device)) for one in ask(batch)]
    return torch.cat(found).float()


def outcome(
    label: str, model: nn.Module, images: ImageSet, count: int, device: torch.device
) -> Outcome:
    """Try one model on the first images."""
    found = logits(model, images.images[:count], device)
    labels = images.labels[:count]
    loss = float(F.cross_entropy(found, labels)) if bool(found.isfinite().all()) else float("inf")
    return Outcome(label, found.argmax(dim=1) == labels, loss)


CONVENTIONS = {
    "akamaster": "ImageNet constants",
    "DeepMind wide ResNet": "CIFAR-10 constants",
    "TRADES wide ResNet": "none",
    "Hydra VGG": "none",
    "kuangliu": "none",
}
"""What published checkpoints of a family are normalised by."""


def equals(outcomes: Sequence[Outcome]) -> list[int]:
    """The settings that are not clearly less accurate than the most accurate one."""
    top = max(outcomes, key=lambda one: one.accuracy)
    return [place for place, one in enumerate(outcomes) if not clearly_better(top, one)]


def best(outcomes: Sequence[Outcome], convention: str = "") -> int:
    """The setting that fits: of those that are equal, the family's convention, or the lowest loss.

    Neighbouring normalisations, such as the constants of CIFAR-10 and ImageNet, differ by less
    than the accuracy of a few hundred images can tell.
    """
    equal = equals(outcomes)
    usual = [place for place in equal if outcomes[place].label == convention]
    return min(usual or equal, key=lambda place: (outcomes[place].loss, place))


def clearly_better(first: Outcome, second: Outcome) -> bool:
    """Whether the first is right more often on the same images (one-sided exact McNemar test)."""
    gained = int((first.right & ~second.right).sum())
    lost = int((second.right & ~first.right).sum())
    return mcnemar_greater(gained, lost) < SIGNIFICANCE
