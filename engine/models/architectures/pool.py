"""The pool before the head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class GlobalAveragePool(nn.Module):
    """The mean over all pixels of a channel.

    By ``avg_pool2d``, as the published networks do: ``AdaptiveAvgPool2d`` adds in another order,
    so that logits would differ in their last bits.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C, 1, 1)."""
        return F.avg_pool2d(x, x.shape[2:])
