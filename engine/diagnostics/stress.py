"""Attacks that cannot fail on a healthy model: unconstrained, and whatever the logits' scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.attacks import losses, run_attack
from engine.attacks.ball import linf_bounds
from engine.attacks.outputs import predict
from engine.diagnostics.checks import forward
from engine.diagnostics.duel import Duel, compare
from engine.diagnostics.flags import Flag
from engine.diagnostics.gradients import cross_entropy, logits_and_gradient

WHOLE_BOX = {"name": "pgd", "eps": 1.0, "steps": 20, "random_start": False}
"""From the image itself: a random start so far away would be an example without a gradient."""

TEMPERATURE_EPS = 0.25
TEMPERATURE_STEPS = 10


def unconstrained_survivors(
    deployed: nn.Module, view: nn.Module, images: Tensor, labels: Tensor
) -> int:
    """How many images a short PGD over the whole box [0, 1] does not break; 0 is healthy.

    The box holds images of every class, so whoever follows a useful gradient arrives
    (Carlini 2019, arXiv 1902.06705).
    """
    result = run_attack(deployed, images, labels, WHOLE_BOX, view=view)
    return int((~result.broken).sum())


def unconstrained_flag(survivors: int, total: int) -> Flag | None:
    """Danger if any image survives."""
    if not survivors:
        return None
    text = (
        f"An attack that may change every pixel as it likes (PGD, eps 1, {WHOLE_BOX['steps']} "
        f"steps) leaves {survivors} of {total} images unbroken: the gradient does not lead to "
        "mistakes, so smaller balls prove nothing. Compare with Square and transferred examples."
    )
    return Flag("unconstrained-survives", "danger", text)


class Tempered(nn.Module):
    """A model with its logits multiplied by a constant; predictions stay."""

    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images to (N, K) logits."""
        logits: Tensor = self.inner(images)
        return logits * self.factor


def temperature_duel(view: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, Duel]:
    """Does sign ascent on the plain cross-entropy break more once the logits are scaled?

    What is compared is the loss that most libraries climb, on the logits as they are and
    divided by the median clean margin, so that it becomes 1: float32 rounds the softmax of
    large logits to 0 and 1, and its gradient with it (Gupta 2022, arXiv 2003.13511). The
    attacks of this program climb the log-odds or margins, which do not saturate; those behind
    ``torchattacks.`` do not.

    Args:
        view: the attack view, in frozen eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N) int64.

    Returns:
        The divisor, and the duel of the rescaled logits (rival) with those as they are.
    """
    margins = losses.margin(forward(view, images), labels).abs()
    divisor = float(margins[margins.isfinite()].median()) if margins.isfinite().any() else 1.0
    divisor = divisor or 1.0
    plain = _climb(view, images, labels)
    return divisor, compare(plain, _climb(Tempered(view, 1 / divisor), images, labels))


def temperature_flag(divisor: float, duel: Duel) -> Flag | None:
    """Warning if the scale of the logits protects from the plain cross-entropy."""
    if not duel.lost:
        return None
    text = (
        f"The scale of the logits blinds the cross-entropy: climbing it in a ball of eps "
        f"{TEMPERATURE_EPS} breaks {duel.whitebox}/{duel.total} images, with the logits divided "
        f"by {divisor:.3g} {duel.rival}/{duel.total} (McNemar exact, p = {duel.p_value:.2g}). "
        "The log-odds and margins that built-in attacks climb are not affected; do not quote "
        "torchattacks on this variant."
    )
    return Flag("logit-scale", "warning", text)


def _climb(view: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Which images are misclassified anywhere on the way, (N) bool."""
    lower, upper = linf_bounds(images, TEMPERATURE_EPS)
    stride = 2.5 * TEMPERATURE_EPS / TEMPERATURE_STEPS
    points, standing = images, torch.arange(len(labels), device=labels.device)
    for _ in range(TEMPERATURE_STEPS):
        logits, gradient = logits_and_gradient(view, points, labels[standing], cross_entropy)
        left = predict(logits) == labels[standing]
        standing = standing[left]
        if not len(standing):
            break
        moved = points[left] + stride * gradient[left].sign()
        points = torch.clamp(moved, lower[standing], upper[standing])
    broken = torch.ones_like(labels, dtype=torch.bool)
    if len(standing):
        broken[standing] = predict(forward(view, points)) != labels[standing]
    return broken
