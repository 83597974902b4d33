"""Masks: which weights stay zero, and choosing them by size."""

from __future__ import annotations

from typing import Any

import torch

from engine.compression.parts.base import WeightPart


class Mask(WeightPart):
    """Keeps chosen weights at zero, also while they are trained."""

    kind = "mask"
    mask: torch.Tensor

    @classmethod
    def blank(cls, weight: torch.Tensor, options: dict[str, Any]) -> Mask:
        """See ``WeightPart.blank``."""
        return cls(torch.ones_like(weight, dtype=torch.bool))

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight where the mask is True, +0 elsewhere (a product would leave -0)."""
        return torch.where(self.mask, weight, torch.zeros_like(weight))


def without_smallest(sizes: torch.Tensor, removed: int) -> torch.Tensor:
    """Which elements stay when the smallest go; of equal ones the earlier goes first.

    Args:
        sizes: (..., K); the last dimension is ranked.
        removed: how many of every K go.

    Returns:
        Booleans of the same shape, False where an element goes.
    """
    if not removed:
        return torch.ones_like(sizes, dtype=torch.bool)
    # Not by sorting, which with its places takes many times the memory of a large network.
    largest = sizes.detach().kthvalue(removed, dim=-1, keepdim=True).values
    below, equal = sizes < largest, sizes == largest
    room = removed - below.sum(dim=-1, keepdim=True)
    return ~(below | equal & (equal.cumsum(dim=-1, dtype=torch.int32) <= room))
