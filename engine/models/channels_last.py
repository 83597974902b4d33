"""Weights in the order of memory that convolutions are quickest in."""

from __future__ import annotations

import torch
from torch import nn


def channels_last(model: nn.Module) -> None:
    """Lay the weights of two-dimensional convolutions channels-last, in place.

    torch's own ``Module.to`` refuses a network that holds a tensor of five dimensions.
    """
    with torch.no_grad():
        for one in (*model.parameters(), *model.buffers()):
            if one.dim() == 4:
                one.data = one.data.contiguous(memory_format=torch.channels_last)
