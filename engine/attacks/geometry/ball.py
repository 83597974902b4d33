"""The threat model: a ball around each image, cut by the box [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SLACK = 1e-6
"""Relative excess of the norm that still counts as inside (rounding, not cheating)."""


def linf_bounds(images: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Lowest and highest float32 pixels inside both the Linf ball and the box.

    Rounded towards the image: ``image + eps`` in float32 can leave a small ball by more than
    the slack (ulp of 1 against eps of 1/255), and then a good example would be refused.
    """
    exact = images.double()
    low, high = exact - eps, exact + eps
    lower, upper = low.float(), high.float()
    lower = torch.where(lower.double() < low, torch.nextafter(lower, images), lower)
    upper = torch.where(upper.double() > high, torch.nextafter(upper, images), upper)
    return lower.clamp(min=0.0), upper.clamp(max=1.0)


def l2_project(images: Tensor, points: Tensor, eps: float) -> Tensor:
    """The points, pulled into the box and then straight towards the image into the L2 ball.

    In this order both hold at the end, because the way to the image stays in the box; cutting
    at the box last would leave the ball half used. Rounded towards the image, as in
    ``linf_bounds``.
    """
    exact = images.double()
    delta = points.clamp(0.0, 1.0).double() - exact
    length = delta.flatten(1).norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    delta *= (eps / length).clamp(max=1.0).view(-1, *[1] * (images.dim() - 1))
    pulled = (exact + delta).float()
    outside = (pulled.double() - exact).abs() > delta.abs()
    return torch.where(outside, torch.nextafter(pulled, images), pulled)


def norms(images: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """(N) L2 and Linf norms of the perturbations, float64."""
    return _l2(images, points), _linf(images, points)


def _l2(images: Tensor, points: Tensor) -> Tensor:
    lengths: Tensor = (points.double() - images.double()).flatten(1).norm(dim=1)
    return lengths


def _linf(images: Tensor, points: Tensor) -> Tensor:
    return (points.double() - images.double()).flatten(1).abs().amax(dim=1)


@dataclass(frozen=True)
class Threat:
    """What an example must satisfy to count.

    Attributes:
        norm: "Linf", "L2" or "" (no ball).
        eps: radius in that norm; None means no ball. With a norm and no eps the attack looks
            for the closest example in that norm.
    """

    norm: str
    eps: float | None

    @property
    def boundless(self) -> bool:
        """The attack looks for the closest example, at whatever distance."""
        return self.eps is None and bool(self.norm)

    def holds(self, images: Tensor, points: Tensor, length: Tensor | None = None) -> Tensor:
        """(N) bool: finite, inside [0, 1], and the norm at most eps (1 + 1e-6).

        ``length``, if it is known already, is what ``length`` gives for the same points.
        """
        flat = points.flatten(1)
        good = ((flat >= 0) & (flat <= 1)).all(dim=1)  # false for NaN, too
        if self.eps is None or not self.norm:
            return good
        length = self.length(images, points) if length is None else length
        return good & (length <= self.eps * (1 + SLACK))

    def length(self, images: Tensor, points: Tensor) -> Tensor:
        """(N) sizes of the perturbations in the norm, float64; Euclidean if there is none."""
        return (_linf if self.norm == "Linf" else _l2)(images, points)
