"""Does the gradient say how the model changes over the distance that an attack walks?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.attacks import losses
from engine.attacks.guard import forked_rng
from engine.diagnostics.flags import Flag
from engine.diagnostics.gradients import logits_and_gradient

SCALE = 8 / 255
DIRECTIONS = 8
MIN_AGREEMENT = 0.4


def secant_agreement(view: nn.Module, images: Tensor, labels: Tensor) -> float | None:
    """Cosine of the changes of the margin that the gradient predicts with those that happen.

    Each image is moved by ``SCALE`` at every pixel, up or down at random, and clipped to the
    box; the cosine is over ``DIRECTIONS`` such moves d, between <gradient, d> and
    margin(x + d) - margin(x). A smooth model is near 1; where the function jumps between x and
    x + d, as with k-winners-take-all (Xiao 2020, arXiv 1905.10510), near 0.

    Args:
        view: the attack view, in frozen eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N) int64.

    Returns:
        The median over the images that have a gradient; None if there are none.
    """
    before, gradient = _margins(view, images, labels)
    generator = torch.Generator().manual_seed(0)
    predicted, real = [], []
    for _ in range(DIRECTIONS):
        signs = torch.randint(0, 2, images.shape, generator=generator).to(images) * 2 - 1
        moved = images.clone().add_(SCALE * signs).clamp_(0, 1)
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
        logits, gradient = logits_and_gradient(view, images, labels, losses.margin)
    return losses.margin(logits, labels), gradient


def secant_flag(agreement: float | None) -> Flag | None:
    """Warning if the gradient predicts too little."""
    if agreement is None or agreement >= MIN_AGREEMENT:
        return None
    text = (
        f"Over steps of {round(SCALE * 255)}/255 the margin does not change as its gradient says "
        f"(median cosine {agreement:.2f}; a smooth model is near 1): gradient attacks follow "
        "noise. Compare with Square and with transferred examples."
    )
    return Flag("secants-disagree", "warning", text)
