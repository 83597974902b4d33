"""Attacks that cannot fail on a healthy model: unconstrained, and whatever the logits' scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.attacks import run_attack
from engine.attacks.geometry.ball import linf_bounds
from engine.attacks.losses.logit_scale import USUAL, factor_of, span
from engine.attacks.search.outputs import predict
from engine.diagnostics.checks import SIGNIFICANCE, forward, tail
from engine.diagnostics.gradients import cross_entropy, logits_and_gradient
from engine.flags import Flag

WHOLE_BOX = {"name": "pgd", "eps": 1.0, "steps": 20, "random_start": False}
"""From the image itself: a random start so far away would be an example without a gradient."""

_TRIES = 3
"""Attacks on what is left of a random model."""

TEMPERATURE_EPS = tuple(0.25 / 2**halvings for halvings in range(7))
"""Balls down to a grey level."""
_FEW, _HALF = 0.1, 0.6
"""A ball that breaks at most this share of the images is the last; of usual logits, which need
no test of significance, one in which a part breaks is enough."""
TEMPERATURE_STEPS = 10


def unconstrained_survivors(
    deployed: nn.Module, view: nn.Module, images: Tensor, labels: Tensor
) -> int:
    """How many images a short PGD over the whole box [0, 1] does not break; 0 is healthy.

    The box holds images of every class, so whoever follows a useful gradient arrives
    (Carlini 2019, arXiv 1902.06705). A random model may be right by chance at the very end, so
    there what survives is tried again.
    """
    left = torch.arange(len(labels), device=labels.device)
    for seed in range(_TRIES):
        result = run_attack(deployed, images[left], labels[left], WHOLE_BOX, view=view, seed=seed)
        left = left[~result.broken]
        if not result.random:
            break
    return len(left)


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


@dataclass(frozen=True)
class Temperature:
    """What the scale of the logits costs an attack on the plain cross-entropy.

    Attributes:
        span: median over the images of their largest minus their smallest logit.
        eps: that of ``TEMPERATURE_EPS`` at which the rescaled logits break nearest to half.
        plain: images broken there on the logits as they are.
        rescaled: on logits that span what is usual.
        total: images.
        p_value: sign test, one-sided: chance that so many images broke in more of the balls on
            the rescaled logits, if the scale did not matter; 1 where it is usual.
    """

    span: float
    eps: float
    plain: int
    rescaled: int
    total: int
    p_value: float

    @property
    def divisor(self) -> float:
        """What the logits were divided by to span what is usual."""
        return self.span / USUAL if self.span else 1.0


def temperature(
    view: nn.Module,
    images: Tensor,
    labels: Tensor,
    tell: Callable[[float], None] = lambda _: None,
) -> Temperature:
    """Does sign ascent on the plain cross-entropy break more once the logits are scaled?

    What is compared is the loss that most libraries climb, on the logits as they are and
    divided so that they span what is usual (``engine.attacks.losses.logit_scale``). float32 rounds
    the softmax of large logits to 0 and 1, and its gradient with it (Gupta 2022,
    arXiv 2003.13511); that of small ones is nearly even, so that its gradient leads to no
    class in particular. Both climb in a row of balls, since in one where all images break, or
    none, nothing can be told.

    Args:
        view: the attack view, in frozen eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N) int64.
        tell: is told the share of the balls that are tried, before each of them.
    """
    logits = forward(view, images)
    median, usual = float(span(logits).median()), factor_of(logits) == 1
    rescaled = Tempered(view, USUAL / median if median else 1.0)
    ours, theirs = list[Tensor](), list[Tensor]()
    for place, eps in enumerate(TEMPERATURE_EPS):
        tell(place / len(TEMPERATURE_EPS))
        theirs.append(_climb(rescaled, images, labels, eps))
        ours.append(_climb(view, images, labels, eps))
        if int(theirs[-1].sum()) <= (_HALF if usual else _FEW) * len(labels):
            break
    broken = [int(each.sum()) for each in theirs]
    told = min(range(len(broken)), key=lambda place: abs(2 * broken[place] - len(labels)))
    more = torch.stack(theirs).sum(dim=0) - torch.stack(ours).sum(dim=0)
    ahead, behind = int((more > 0).sum()), int((more < 0).sum())
    return Temperature(
        span=median,
        eps=TEMPERATURE_EPS[told],
        plain=int(ours[told].sum()),
        rescaled=broken[told],
        total=len(labels),
        p_value=1.0 if usual else tail(ahead, ahead + behind, 0.5),
    )


def temperature_flag(found: Temperature) -> Flag | None:
    """Warning if the scale of the logits protects from the plain cross-entropy."""
    if found.p_value >= SIGNIFICANCE:
        return None
    text = (
        f"The logits span {found.span:.3g}, and their scale blinds the cross-entropy: in a ball "
        f"of eps {found.eps:.3g} it breaks {found.plain}/{found.total} images, on logits divided "
        f"by {found.divisor:.3g} {found.rescaled}/{found.total} (sign test over several balls, "
        f"p = {found.p_value:.2g}). Attacks here climb it on logits of a usual size, those of "
        "torchattacks too; figures that others get on the logits as they are say too much."
    )
    return Flag("logit-scale", "warning", text)


def _climb(view: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Which images are misclassified anywhere on the way, (N) bool."""
    lower, upper = linf_bounds(images, eps)
    stride = 2.5 * eps / TEMPERATURE_STEPS
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
