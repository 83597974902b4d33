"""How much work a network is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from engine.compression.layers import weight_layers
from engine.evaluation.guard import forked_rng


def count_macs(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """Multiply-accumulates of each convolution and linear layer for one image.

    Those of matrix products and convolutions elsewhere, for example in attention, are under
    the empty name. The counter of torch counts two operations per multiply-accumulate.
    """
    device = next((one.device for one in model.parameters()), None)
    with (
        torch.no_grad(),
        forked_rng(0),
        _in_plain_operations(),
        FlopCounterMode(display=False) as counter,
    ):
        model(torch.zeros(1, *image_shape, device=device))
    counted = counter.get_flop_counts()
    root = type(model).__name__
    found = {
        name: sum(counted.get(f"{root}.{name}", {}).values()) // 2
        for name, _ in weight_layers(model)
    }
    return {**found, "": counter.get_total_flops() // 2 - sum(found.values())}


def count_classes(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """How many classes a model tells, whatever its images are of; leaves it in eval mode."""
    device = next((one.device for one in model.parameters()), None)
    with torch.no_grad(), forked_rng(0):
        return int(model.eval()(torch.zeros(1, *image_shape, device=device)).shape[1])


def images_within(budget: float, macs: int, fewest: int, most: int) -> int:
    """How many images may be looked at, so that large networks take no longer than small ones.

    Args:
        budget: multiply-accumulates in all.
        macs: of one image.
        fewest: images, whatever they cost.
        most: images, however little they cost.
    """
    return max(fewest, min(most, int(budget / max(macs, 1))))


@contextmanager
def _in_plain_operations() -> Iterator[None]:
    """Attention as matrix products; the counter does not see into its fused forms."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
