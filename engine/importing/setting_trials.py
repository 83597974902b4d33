"""Settings that no checkpoint tells, tried on a few hundred images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.special import ndtri, stdtr
from torch import nn

from engine.attacks.search.batching import in_chunks
from engine.attacks.search.outputs import predict
from engine.compression.macs import count_macs, images_within
from engine.data import ImageSet
from engine.evaluation.guard import arithmetic
from engine.evaluation.model_call import ask
from engine.host.device import batch_size
from engine.importing.report import Scaling, Trial
from engine.importing.stated import Stated, agree
from engine.models.normalised import Normalised
from engine.statistics.intervals import mcnemar_greater, wilson

SIGNIFICANCE = 0.01
_FEWEST, _MOST = 128, 500
_BUDGET = 2.5e11
"""Multiply-accumulates of one trial: seconds on a CPU."""
_SECOND_BUDGET = 10 * _BUDGET
"""Of all trials of a second look together."""
_PART = 1000
"""Images whose pixels are in float64 at once."""
_ALIKE = 0.01
"""Normalisations closer than this in accuracy make no difference that is worth a question."""

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


OWN = "the dataset's own"
"""Mean and deviation of the very images, which no training can have used."""

_SHARPEST = 30.0
"""Largest root mean square of logits whose losses are compared."""
_SHARPNESSES = 32


@dataclass(frozen=True, eq=False)
class Outcome:
    """One setting on the trial images.

    Attributes:
        label: in words.
        right: (N,) bool.
        losses: (N,) float64 cross-entropies of the logits times ``sharpness``; infinite if a
            logit is not finite.
        sharpness: what fits these logits best.
    """

    label: str
    right: torch.Tensor
    losses: torch.Tensor
    sharpness: float = 1.0

    @property
    def loss(self) -> float:
        """The mean."""
        return float(self.losses.mean())

    @property
    def accuracy(self) -> float:
        """Share classified correctly."""
        return int(self.right.sum()) / len(self.right)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        low, high = wilson(int(self.right.sum()), len(self.right))
        return float(low), float(high)

    def joined(self, further: Outcome) -> Outcome:
        """Together with the same setting on the images that follow."""
        right = torch.cat([self.right, further.right])
        losses = torch.cat([self.losses, further.losses])
        return Outcome(self.label, right, losses, self.sharpness)

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
    mean, std = _statistics(images)
    found: list[Scaling | None] = [None, *(_COLOUR if images.shape[0] == 3 else _GREY)]
    if bool((std > 0).all()):
        own = Scaling(label=OWN, mean=tuple(mean.tolist()), std=tuple(std.tolist()))
        found.append(own)
    return found


def _statistics(images: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel in float64, over a part of the images at once.

    The sums are of distances from the first part's mean, so that no digits cancel.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    shift: torch.Tensor | None = None
    for start in range(0, len(images), _PART):
        part = images.images[start : start + _PART].transpose(0, 1).flatten(1).double()
        shift = part.mean(dim=1, keepdim=True) if shift is None else shift
        away = part - shift
        count += away.shape[1]
        total, squares = total + away.sum(dim=1), squares + away.square().sum(dim=1)
    assert shift is not None
    mean = total / count
    variance = (squares - count * mean.square()) / max(count - 1, 1)
    return shift.squeeze(1) + mean, variance.clamp_min(0).sqrt()


def label_of(scaling: Scaling | None) -> str:
    """In words."""
    return "none" if scaling is None else scaling.label


def with_scaling(network: nn.Module, scaling: Scaling | None) -> nn.Module:
    """The network behind a normalisation."""
    return network if scaling is None else Normalised(network, scaling.mean, scaling.std)


def macs(network: nn.Module, images: ImageSet) -> int:
    """Multiply-accumulates of one image."""
    return max(sum(count_macs(network, images.shape).values()), 1)


def trial_images(macs: int, images: ImageSet) -> int:
    """How many images a trial takes: fewer for large networks."""
    return min(len(images), images_within(_BUDGET, macs, _FEWEST, _MOST))


def more_images(macs: int, settings: int, images: ImageSet) -> int:
    """How many images a second look at some settings takes, those of the first included."""
    return min(len(images), int(_SECOND_BUDGET / (macs * settings)))


def logits(model: nn.Module, images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """(N, classes) on the CPU, in eval mode and exact fp32."""
    model = model.to(device).eval()

    def answers(batch: torch.Tensor) -> torch.Tensor:
        parts = in_chunks(model, len(batch), lambda part: ask(model, batch[part].to(device)).cpu())
        return torch.cat(parts)

    with torch.inference_mode(), arithmetic(device, exact=True):
        size = batch_size(device, images.shape[1:])
        return torch.cat([answers(batch) for batch in torch.split(images, size)]).float()


def outcome(
    label: str,
    model: nn.Module,
    images: ImageSet,
    rows: range,
    device: torch.device,
    sharpness: float | None = None,
) -> Outcome:
    """Try one model on a range of the images.

    Args:
        label: of the setting.
        model: with the setting.
        images: all there are.
        rows: those to try.
        device: where to compute.
        sharpness: as found on the images before these; None to find it.
    """
    chosen = slice(rows.start, rows.stop)
    labels = images.labels[chosen]
    try:
        found = logits(model, images.images[chosen], device)
    except IndexError:  # a network that looks pixels up in a table takes no others
        found = torch.full((len(labels), len(images.class_names)), math.nan)
    return outcome_of(label, found, labels, sharpness)


def outcome_of(
    label: str, found: torch.Tensor, labels: torch.Tensor, sharpness: float | None = None
) -> Outcome:
    """What logits (N, classes) are worth; the same for these times any number above 0.

    Larger logits alone have a lower cross-entropy wherever most images are right, so losses are
    compared at the temperature that fits each setting best (Guo 2017, arXiv 1706.04599).
    """
    right = predict(found) == labels
    if not bool(found.isfinite().all()):
        return Outcome(label, right, torch.full((len(labels),), math.inf, dtype=torch.float64))
    wide = found.double()
    if sharpness is None:
        sharpness = _sharpness(wide, labels)
    return Outcome(
        label, right, F.cross_entropy(wide * sharpness, labels, reduction="none"), sharpness
    )


def _sharpness(found: torch.Tensor, labels: torch.Tensor) -> float:
    """The factor of logits with the lowest mean cross-entropy, of a grid that goes with them."""
    spread = float((found - found.mean(dim=1, keepdim=True)).square().mean().sqrt())
    steepest = _SHARPEST / spread if spread else 1.0
    factors = [steepest * 2 ** (-step / 2) for step in range(_SHARPNESSES)]
    return min(factors, key=lambda one: float(F.cross_entropy(found * one, labels)))


CONVENTIONS = {
    "akamaster": "ImageNet constants",
    "DeepMind wide ResNet": "CIFAR-10 constants",
    "TRADES wide ResNet": "none",
    "Hydra VGG": "none",
    "kuangliu": "none",
}
"""What published checkpoints of a family are normalised by."""


def as_accurate(outcomes: Sequence[Outcome]) -> list[int]:
    """The settings that are not clearly less accurate than the most accurate one."""
    top = max(outcomes, key=lambda one: one.accuracy)
    return [place for place, one in enumerate(outcomes) if not clearly_better(top, one)]


def best(outcomes: Sequence[Outcome], convention: str = "", stated: Stated = ()) -> int:
    """The setting that fits.

    Neighbouring normalisations, such as the constants of CIFAR-10 and ImageNet, differ by less
    than a few hundred images can tell. Ties are settings that are neither clearly less accurate
    than the most accurate one, nor clearly higher in loss than the lowest of those unless the
    file states just their accuracy. Of these counts, in this order: what the family is published
    with; what the file states; published constants before the images' own; the lowest loss.
    """
    equal = as_accurate(outcomes)
    lowest = min(equal, key=lambda place: (outcomes[place].loss, place))

    def agrees(place: int) -> bool:
        return bool(stated) and agree(stated, *outcomes[place].interval)

    ties = [
        place
        for place in equal
        if agrees(place) or not clearly_lower(outcomes[lowest], outcomes[place])
    ]
    return min(
        ties,
        key=lambda place: (
            outcomes[place].label != convention,
            not agrees(place),
            outcomes[place].label == OWN,
            outcomes[place].loss,
            place,
        ),
    )


def best_complete(outcomes: Sequence[Outcome]) -> int:
    """The setting of a complete network, which normalises inside if it does at all.

    So it is none, unless another is clearly more accurate, however many were tried.
    """
    none = next(place for place, one in enumerate(outcomes) if one.label == label_of(None))
    tries = len(outcomes) - 1
    better = [
        place
        for place, one in enumerate(outcomes)
        if place != none and clearly_better(one, outcomes[none], tries)
    ]
    if not better:
        return none
    return better[best([outcomes[place] for place in better])]


def _together(first: Outcome, second: Outcome) -> int:
    """How many images both saw: each saw the first so many."""
    return min(len(first.right), len(second.right))


def accuracies(first: Outcome, second: Outcome) -> tuple[float, float]:
    """Of both, on the images that both saw."""
    count = _together(first, second)
    return int(first.right[:count].sum()) / count, int(second.right[:count].sum()) / count


def _gained_lost(first: Outcome, second: Outcome) -> tuple[int, int]:
    count = _together(first, second)
    one, other = first.right[:count], second.right[:count]
    return int((one & ~other).sum()), int((other & ~one).sum())


def clearly_better(first: Outcome, second: Outcome, tries: int = 1) -> bool:
    """Whether the first is right more often on the same images (one-sided exact McNemar test).

    ``tries`` is how many are compared with the second (Bonferroni).
    """
    return mcnemar_greater(*_gained_lost(first, second)) < SIGNIFICANCE / tries


def clearly_lower(first: Outcome, second: Outcome, tries: int = 1) -> bool:
    """Whether the first has the lower loss on the same images (one-sided paired t-test).

    ``tries`` is how many are compared with the second (Bonferroni).
    """
    count = _together(first, second)
    ours, theirs = first.losses[:count], second.losses[:count]
    if not bool(theirs.isfinite().all()):
        return bool(ours.isfinite().all())
    gaps = theirs - ours
    mean, error = float(gaps.mean()), float(gaps.std()) / math.sqrt(count)
    if count < 2 or not math.isfinite(mean) or mean <= 0:
        return False
    return error == 0 or float(stdtr(count - 1, -mean / error)) < SIGNIFICANCE / tries


def perhaps_better(first: Outcome, second: Outcome) -> bool:
    """Whether the first was right more often, and its lead may be one that matters.

    It does not matter if the upper end of its confidence interval (normal, of paired shares) is
    below a point, or if the second has the clearly lower loss.
    """
    gained, lost = _gained_lost(first, second)
    if gained <= lost or clearly_lower(second, first):
        return False
    count = _together(first, second)
    lead = (gained - lost) / count
    error = math.sqrt(max(gained + lost - count * lead**2, 0.0)) / count
    return lead + float(ndtri(1 - SIGNIFICANCE)) * error >= _ALIKE
