"""Masks that are learned: scores rank the weights of a layer, and gradient reaches them all."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import FunctionCtx

from engine.compression.layers import Layer, on_weight
from engine.compression.parts.mask import Mask, without_smallest


def kept_weights(count: int, density: float) -> int:
    """How many of ``count`` weights stay: all but int((1 - k) count), as the published code."""
    return count - int((1 - density) * count)


class _TopK(torch.autograd.Function):
    """1 where a size ranks among those kept, 0 elsewhere; straight through to the size."""

    @staticmethod
    def forward(ctx: FunctionCtx, sizes: torch.Tensor, allowed: torch.Tensor, kept: int) -> Any:
        return chosen(sizes, allowed, kept).to(sizes.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return gradients[0], None, None


def chosen(sizes: torch.Tensor, allowed: torch.Tensor, kept: int) -> torch.Tensor:
    """Which weights of a layer stay: the ``kept`` largest of those allowed, or all of these.

    Args:
        sizes: not negative, any shape; of equal ones the earlier goes first.
        allowed: booleans of the same shape.
        kept: how many stay at most.
    """
    ranked = torch.where(allowed, sizes, torch.full_like(sizes, -1)).flatten()
    return without_smallest(ranked, ranked.numel() - kept).reshape(sizes.shape) & allowed


class ScoreMask(nn.Module):
    """A parametrization that multiplies a weight W by the mask of its largest |scores| (Hydra).

    The gradient of a score s is (dL/dm) sign(s) with dL/dm = dL/d(mW) W, also where m is 0, so
    that a weight can come back (Sehwag 2020, arXiv 2002.10509). What masks before
    it removed stays removed.

    Attributes:
        scores: like the weight.
        kept: how many weights stay.
    """

    allowed: torch.Tensor

    def __init__(self, scores: torch.Tensor, allowed: torch.Tensor, kept: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)
        self.register_buffer("allowed", allowed)
        self.kept = kept

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight where the mask is 1, zero elsewhere."""
        mask: torch.Tensor = _TopK.apply(self.scores.abs(), self.allowed, self.kept)
        return weight * mask

    def frozen(self) -> Mask:
        """The present mask as a plain one."""
        return Mask(chosen(self.scores.detach().abs(), self.allowed, self.kept))


def allowed_weights(layer: Layer) -> torch.Tensor:
    """Booleans like the weight of a layer: True where no mask on it is False."""
    allowed = torch.ones_like(layer.weight, dtype=torch.bool)
    for part in on_weight(layer):
        if isinstance(part, Mask):
            allowed = allowed & part.mask
    return allowed
