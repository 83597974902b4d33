"""Normalisation as part of the network, so that every model takes images in [0,1]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Normalised(nn.Module):
    """Subtract a mean and divide by a standard deviation per channel, then call a network.

    Args:
        model: from normalised images to logits.
        mean: one number per channel.
        std: one number above 0 per channel.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) in [0,1] to (N, classes) logits."""
        logits: torch.Tensor = self.model((x - self.mean) / self.std)
        return logits
