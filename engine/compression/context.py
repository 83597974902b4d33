"""What a compression step may look at beside the model."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from engine.data import ImageSet
from engine.training import Watch


@dataclass(frozen=True, eq=False)
class Context:
    """Data and seed of a step, where it computes, and who watches.

    Attributes:
        calibration: (N, C, H, W) training images in [0,1]; None if the dataset has none.
        seed: of every random choice of a step.
        training: all training images with labels; None if the dataset has none.
        device: where steps train; models come and go on the CPU.
        watch: is told of the epochs of steps that train, and may stop them.
    """

    calibration: torch.Tensor | None = None
    seed: int = 0
    training: ImageSet | None = None
    device: torch.device = torch.device("cpu")  # noqa: RUF009  immutable
    watch: Watch = field(default_factory=Watch)
