"""Projections of a convolution's weight onto sparse patterns (Ye 2019, arXiv 1903.12561)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

Pattern = Literal["irregular", "filter", "column"]
"""Of the weight of a convolution; ``irregular`` of any tensor."""


def project(weight: torch.Tensor, pattern: Pattern, ratio: float) -> torch.Tensor:
    """The nearest weight of a pattern, as the published code finds it.

    The threshold is the percentile of the sizes at ``ratio``, interpolated linearly. Sizes are
    absolute values, or L2 norms of output filters or of columns (one input channel at one
    kernel position in all filters). What is smaller becomes zero; what equals the threshold
    stays, but a filter goes.

    Args:
        weight: (O, I, H, W).
        pattern: what is removed as a whole.
        ratio: share that is removed, in (0, 1).
    """
    sizes, threshold = _sizes(weight, pattern, ratio)
    kept = sizes > threshold if pattern == "filter" else sizes >= threshold
    zeroed = torch.where(_spread(kept, weight, pattern), weight, torch.zeros_like(weight))
    return zeroed.detach()


def pattern_mask(weight: torch.Tensor, pattern: Pattern, ratio: float) -> torch.Tensor:
    """Which entries are left to train: booleans like the weight, True above the threshold."""
    sizes, threshold = _sizes(weight, pattern, ratio)
    return _spread(sizes > threshold, weight, pattern)


def _sizes(
    weight: torch.Tensor, pattern: Pattern, ratio: float
) -> tuple[NDArray[np.float64], float]:
    values = weight.detach().cpu().double().numpy()
    rows = values.reshape(len(values), -1)
    if pattern == "irregular":
        sizes = np.abs(values)
    else:
        sizes = np.linalg.norm(rows, axis=1 if pattern == "filter" else 0)
    return sizes, float(np.percentile(sizes, 100 * ratio))


def _spread(kept: NDArray[np.bool_], weight: torch.Tensor, pattern: Pattern) -> torch.Tensor:
    """From single weights, filters or columns to a mask like the weight."""
    mask = torch.from_numpy(np.asarray(kept)).to(weight.device)
    if pattern == "filter":
        mask = mask[:, None].expand(len(weight), weight[0].numel())
    elif pattern == "column":
        mask = mask.expand(len(weight), weight[0].numel())
    return mask.reshape(weight.shape).contiguous()  # a mask is written to when it is loaded
