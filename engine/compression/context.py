"""What a compression step may look at beside the model."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Context:
    """Data and seed of a step.

    Attributes:
        calibration: (N, C, H, W) training images in [0,1]; None if the dataset has none.
        seed: of every random choice of a step.
    """

    calibration: torch.Tensor | None = None
    seed: int = 0
