"""Does the gradient say how the model changes over the distance that an attack walks?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.attacks.losses import objectives
from engine.diagnostics.gradients import logits_and_gradient
from engine.evaluation.guard import forked_rng
from engine.flags import Flag

SCALES = (8 / 255, 1 / 255)
"""What attacks walk, and one grey level. A healthy network that was never attacked in training
bends within the first: a ResNet-20 for CIFAR-10 has 0.14 there and 0.84 at the second. Rounded
activations step within the second: 0.79 and 0.33. K-winners-take-all has 0.18 and 0.26."""
DIRECTIONS = 8
MIN_AGREEMENT = 0.4


def secant_agreement(view: nn.Module, images: Tensor, labels: Tensor) -> float | None:
    """Cosine of the changes of the margin that the gradient predicts with those that happen.

    Each image is moved by a step at every pixel, up or down at random, and clipped to the box;
    the cosine is over ``DIRECTIONS`` such moves d, between <gradient, d> and
    margin(x + d) - margin(x). Where the model is smooth it is near 1; where it jumps between x
    and x + d, as with k-winners-take-all (Xiao 2020, arXiv 1905.10510), near 0.

    Args:
        view: the attack view, in frozen eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N) int64.

    Returns:
        The median over the images that have a gradient, at that of ``SCALES`` where it is
        highest; None if no image has one.
    """
    before = _margins(view, images, labels)
    found = [_at_scale(view, images, labels, before, scale) for scale in SCALES]
    return max((one for one in found if one is not None), default=None)


def _at_scale(
    view: nn.Module, images: Tensor, labels: Tensor, start: tuple[Tensor, Tensor], scale: float
) -> float | None:
    before, gradient = start
    generator = torch.Generator().manual_seed(0)
    predicted, real = [], []
    for _ in range(DIRECTIONS):
        signs = torch.randint(0, 2, images.shape, generator=generator).to(images) * 2 - 1
        moved = images.clone().add_(scale * signs).clamp_(0, 1)
        after, _ = _margins(view, moved, labels)
        predicted.append((gradient * (moved - images)).flatten(1).sum(dim=1))
        real.append(after - before)
    one, other = torch.stack(predicted).double(), torch.stack(real).double()
    cosine = (one * other).sum(dim=0) / (one.norm(dim=0) * other.norm(dim=0))
    cosine = cosine[cosine.isfinite()]
    return float(cosine.median()) if len(cosine) else None


def _margins(view: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Margins and their gradients at the same draw of a random model, whatever the images.

    Always with a backward, and from images with the same strides: otherwise some random layers
    draw other numbers.
    """
    with forked_rng(0):
        logits, gradient = logits_and_gradient(view, images, labels, objectives.margin)
    return objectives.margin(logits, labels), gradient


def secant_flag(agreement: float | None) -> Flag | None:
    """Warning if the gradient predicts too little."""
    if agreement is None or agreement >= MIN_AGREEMENT:
        return None
    text = (
        f"Neither over steps of 8/255 nor of 1/255 does the margin change as its gradient says "
        f"(median cosine {agreement:.2f}; a smooth model is near 1): gradient attacks follow "
        "noise. Compare with Square and with transferred examples."
    )
    return Flag("secants-disagree", "warning", text)
