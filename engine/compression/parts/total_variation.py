"""Total variation minimisation in front of a network (Guo 2018, arXiv 1711.00117)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from engine.compression.parts.base import FrontPart
from engine.compression.parts.front import AsItIs, straight_through

STEPS = 100
"""At the published weight the objective is then within 1 % of the least one, mostly far nearer."""
_PRIMAL, _DUAL = 2 * 8**-0.5, 8**-0.5 / 2
"""Step sizes; their product is 1/8, where 8 bounds the squared norm of the gradient operator."""


class TotalVariation(FrontPart):
    """Drops pixels at random and puts the smoothest image through those that are left.

    Each channel by itself, it is the z that minimises

        1/2 sum over kept pixels (z - x)^2 + weight TV(z)

    with the isotropic total variation TV, the sum of the lengths of the differences to the
    pixels below and at the right (Rudin 1992; Chambolle 2004). Each forward draws anew which
    pixels go, for each image by itself, from the global generator; with a share of 0 none goes.

    Args:
        dropped: share of the pixels that go, in [0, 1).
        weight: of the total variation, above 0.
    """

    kind = "total-variation"
    searched = "passes the gradient on as if it changed nothing (straight through, BPDA)"

    def __init__(self, dropped: float, weight: float) -> None:
        super().__init__()
        self.dropped, self.weight = dropped, weight

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to the same shape; the gradient is that of the identity."""
        kept = torch.ones_like(images[:, :1])
        if self.dropped:
            draws = torch.rand(len(images), 1, *images.shape[2:])
            kept = (draws >= self.dropped).to(images)
        return straight_through(images, lambda x: smoothest(x, kept, self.weight))

    def naive(self) -> nn.Module:
        """See ``FrontPart.naive``."""
        return AsItIs(self)

    def options(self) -> dict[str, Any]:
        """See ``Part.options``."""
        return {"dropped": self.dropped, "weight": self.weight}

    @classmethod
    def blank(cls, options: dict[str, Any]) -> TotalVariation:
        """See ``FrontPart.blank``."""
        return cls(options["dropped"], options["weight"])


def smoothest(images: torch.Tensor, kept: torch.Tensor, weight: float) -> torch.Tensor:
    """The minimiser that ``TotalVariation`` describes, by the primal-dual method.

    ``STEPS`` steps of Chambolle & Pock 2011 (doi 10.1007/s10851-010-0251-1, algorithm 1). What
    dropped pixels were is not looked at, and no image at another.

    Args:
        images: (N, C, H, W).
        kept: (N, 1, H, W), 1 where a pixel is kept and 0 where it is not.
        weight: of the total variation.
    """
    z = ahead = _guess(images, kept)
    down, right = torch.zeros_like(images), torch.zeros_like(images)
    for _ in range(STEPS):
        down = down + _DUAL * _difference(ahead, 2)
        right = right + _DUAL * _difference(ahead, 3)
        length = (down.square() + right.square()).sqrt().div(weight).clamp_min(1)
        down, right = down / length, right / length
        before, z = z, z + _PRIMAL * (_divergence(down, 2) + _divergence(right, 3))
        z = (z + _PRIMAL * kept * images) / (1 + _PRIMAL * kept)
        ahead = 2 * z - before
    return z


def _guess(images: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """The image with the mean of their neighbours for dropped pixels, 1/2 where none is kept."""
    around, number = (avg_pool2d(one, 3, stride=1, padding=1) for one in (kept * images, kept))
    mean = torch.where(number > 0, around / number, 0.5)
    return torch.where(kept > 0, images, mean)


def _difference(images: torch.Tensor, dim: int) -> torch.Tensor:
    """To the next pixel; 0 at the last."""
    last = images.narrow(dim, images.shape[dim] - 1, 1)
    return images.diff(dim=dim, append=last)


def _divergence(field: torch.Tensor, dim: int) -> torch.Tensor:
    """Minus the transpose of ``_difference``; what is at the last pixel there does not count."""
    inner = field.narrow(dim, 0, field.shape[dim] - 1)
    zero = torch.zeros_like(field.narrow(dim, 0, 1))
    return torch.cat([inner, zero], dim).diff(dim=dim, prepend=zero)
