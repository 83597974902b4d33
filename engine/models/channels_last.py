"""Weights in the order of memory that convolutions are quickest in."""

from __future__ import annotations

import torch
from torch import nn


def channels_last(model: nn.Module) -> None:
    """Lay the weights of two-dimensional convolutions channels-last, in place.

    torch's own ``Module.to`` refuses a network that holds a tensor of five dimensions. As there,
    ``to`` gives also what reads a single channel, or has kernels of 1x1, the strides by which a
    convolution is told; ``contiguous`` would leave them, since they lie in both orders.
    """
    with torch.no_grad():
        for one in (*model.parameters(), *model.buffers()):
            if one.dim() == 4:
                one.data = one.data.to(memory_format=torch.channels_last)
