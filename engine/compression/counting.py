"""How much work a network is."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from engine.compression.layers import weight_layers


def count_macs(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """Multiply-accumulates of each convolution and linear layer for one image.

    The counter of torch counts two operations per multiply-accumulate.
    """
    device = next(model.parameters()).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *image_shape, device=device))
    counted = counter.get_flop_counts()
    root = type(model).__name__
    return {
        name: sum(counted.get(f"{root}.{name}", {}).values()) // 2
        for name, _ in weight_layers(model)
    }
