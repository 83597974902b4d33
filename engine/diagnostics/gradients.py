"""Is there a gradient for an attack to follow?"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.attacks.losses import objectives
from engine.attacks.losses.objectives import Objective
from engine.attacks.search.batching import in_chunks
from engine.attacks.search.gradient import input_gradient
from engine.errors import AttackError
from engine.evaluation.guard import preserved
from engine.flags import Flag

MAX_ZERO_FRACTION = 0.05
MIN_COSINE = 0.1
_INSTEAD = "Believe Square and transferred examples instead."


@dataclass(frozen=True)
class GradientHealth:
    """The state of the input gradients of an attack view.

    Attributes:
        present: the output depends differentiably on the images.
        nonfinite_fraction: share of images with NaN or infinity in a gradient.
        zero_fraction: share of images whose margin gradient is zero at every pixel.
        saturated_fraction: the same for the cross-entropy, which also dies of confidence.
        cosine: median cosine with the parent's margin gradient; None without a parent, where
            that has no gradient, or where no image has both.
        reason: why there is no gradient, empty if there is.
    """

    present: bool
    nonfinite_fraction: float = 0.0
    zero_fraction: float = 0.0
    saturated_fraction: float = 0.0
    cosine: float | None = None
    reason: str = ""

    def flags(self) -> tuple[Flag, ...]:
        """What is wrong, in words."""
        if not self.present:
            text = f"White-box attacks cannot work on this variant. {self.reason} {_INSTEAD}"
            return (Flag("no-gradient", "danger", text),)
        found = []
        if self.nonfinite_fraction:
            text = (
                "Input gradients contain NaN or infinite values for "
                f"{self.nonfinite_fraction:.0%} of the images, so attacks are blunted. {_INSTEAD}"
            )
            found.append(Flag("nonfinite-gradient", "danger", text))
        if self.zero_fraction > MAX_ZERO_FRACTION:
            text = (
                f"The input gradient is exactly zero for {self.zero_fraction:.0%} of the images: "
                "gradient attacks stand still there, and the robust accuracy means nothing. "
                f"{_INSTEAD}"
            )
            found.append(Flag("zero-gradient", "danger", text))
        if self.saturated_fraction - self.zero_fraction > MAX_ZERO_FRACTION:
            text = (
                f"The cross-entropy is saturated for {self.saturated_fraction:.0%} of the images: "
                "attacks that climb it directly stand still there. Use built-in ones: they climb "
                "log-odds or margins."
            )
            found.append(Flag("saturated-loss", "warning", text))
        if self.cosine is not None and self.cosine < MIN_COSINE:
            text = (
                "Input gradients hardly agree with those of the parent (median cosine "
                f"{self.cosine:.2f}): compare with transferred examples."
            )
            found.append(Flag("gradient-disagrees", "warning", text))
        return tuple(found)


def gradient_health(
    view: nn.Module, images: Tensor, labels: Tensor, parent: nn.Module | None = None
) -> GradientHealth:
    """Take the input gradients of a view, and of its parent, at clean images.

    Args:
        view: the attack view of the variant.
        images: (N, C, H, W) float32 in [0, 1], on the view's device; N >= 1.
        labels: (N) int64.
        parent: the attack view of the base model.
    """
    modules = (view,) if parent is None else (view, parent)
    with preserved(*modules, seed=0):
        try:
            _, slope = logits_and_gradient(view, images, labels, objectives.margin)
            _, steep = logits_and_gradient(view, images, labels, cross_entropy)
        except AttackError as error:
            return GradientHealth(present=False, reason=error.message)
        reference = None
        if parent is not None:
            with suppress(AttackError):  # nothing to compare with
                _, reference = logits_and_gradient(parent, images, labels, objectives.margin)
    return GradientHealth(
        present=True,
        nonfinite_fraction=_nonfinite_fraction(slope, steep),
        zero_fraction=_zero_fraction(slope),
        saturated_fraction=_zero_fraction(steep),
        cosine=None if reference is None else _median_cosine(slope, reference),
    )


def logits_and_gradient(
    view: nn.Module, images: Tensor, labels: Tensor, objective: Objective
) -> tuple[Tensor, Tensor]:
    """Logits (N, K) and input gradient (N, C, H, W), in pieces that fit into memory.

    Raises:
        AttackError: the output does not depend differentiably on the images.
    """

    def differentiate(part: slice) -> tuple[Tensor, Tensor, Tensor]:
        return input_gradient(view, images[part], labels[part], objective)

    parts = in_chunks(view, len(images), differentiate)
    logits, _, gradient = (torch.cat(each) for each in zip(*parts, strict=True))
    return logits, gradient


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss that saturates, per image (N), as most libraries climb it."""
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def _nonfinite_fraction(*gradients: Tensor) -> float:
    finite = [gradient.flatten(1).isfinite().all(dim=1) for gradient in gradients]
    return float((~torch.stack(finite).all(dim=0)).float().mean())


def _zero_fraction(gradient: Tensor) -> float:
    return float((gradient.flatten(1) == 0).all(dim=1).float().mean())


def _median_cosine(one: Tensor, other: Tensor) -> float | None:
    one, other = one.flatten(1).double(), other.flatten(1).double()
    cosine = (one * other).sum(dim=1) / (one.norm(dim=1) * other.norm(dim=1))
    cosine = cosine[torch.isfinite(cosine)]
    return float(cosine.median()) if len(cosine) else None
