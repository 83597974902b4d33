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


def norms(images: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """(N) L2 and Linf norms of the perturbations, float64."""
    delta = (points.double() - images.double()).flatten(1)
    return delta.norm(dim=1), delta.abs().amax(dim=1)


@dataclass(frozen=True)
class Threat:
    """What an example must satisfy to count.

    Attributes:
        norm: "Linf", "L2" or "" (no ball).
        eps: radius in that norm; None means no ball.
    """

    norm: str
    eps: float | None

    def holds(self, images: Tensor, points: Tensor) -> Tensor:
        """(N) bool: finite, inside [0, 1], and the norm at most eps (1 + 1e-6)."""
        flat = points.flatten(1)
        good = (flat.isfinite() & (flat >= 0) & (flat <= 1)).all(dim=1)
        if self.eps is None or not self.norm:
            return good
        l2, linf = norms(images, points)
        length = linf if self.norm == "Linf" else l2
        return good & (length <= self.eps * (1 + SLACK))
