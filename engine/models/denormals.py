"""Denormal weights: so small that processors compute with them a hundred times more slowly.

Weight decay leaves them in weights that nothing else moves. They are smaller than the smallest
normal number of fp32, 1.18e-38, so no sum with a normal number changes by them. They are set to
zero in every copy that is computed with, on every device alike: a switch of the processor would
hold for one thread of one process only.
"""

from __future__ import annotations

import torch
from torch import nn

THRESHOLD = torch.finfo(torch.float32).tiny
"""Magnitudes below it count as zero."""

_EXPONENT, _FRACTION = 0x7F800000, 0x007FFFFF


def without_denormals(tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
    """A tensor of fp32 with zeros in place of its denormal numbers, and how many it had.

    Told by their bits, as a comparison takes them for zero wherever the processor does.
    """
    if tensor.dtype != torch.float32:
        return tensor, 0
    bits = tensor.view(torch.int32)
    small = ((bits & _EXPONENT) == 0) & ((bits & _FRACTION) != 0)
    count = int(small.sum())
    return (tensor.masked_fill(small, 0) if count else tensor), count


def zero_denormals(module: nn.Module) -> int:
    """Set the denormal parameters of a network to zero, in place; how many there were."""
    total = 0
    for parameter in module.parameters():
        parameter.data, count = without_denormals(parameter.data)
        total += count
    return total


def in_words(count: int, of: int) -> str:
    """For the report of a model that has some."""
    return (
        f"{count:,} of its {of:,} numbers ({count / of:.1%}) are denormal: below "
        f"{THRESHOLD:.3g}, but not zero. They make processors slow and no logit differs by them, "
        "so they are taken as zero."
    )
