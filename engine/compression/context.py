"""What a compression step may look at beside the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from engine.data import ImageSet
from engine.errors import SpecError
from engine.training import Checkpoint, Watch


def _no_teacher(name: str) -> nn.Module:
    raise SpecError(f"The teacher {name!r} is not at hand.", "Name a model of the catalogue.")


@dataclass(frozen=True, eq=False)
class Context:
    """Data and seed of a step, where it computes, and who watches.

    Attributes:
        calibration: (N, C, H, W) training images in [0,1]; None if the dataset has none.
        seed: of every random choice of a step.
        training: all training images with labels; None if the dataset has none.
        device: where steps train; models come and go on the CPU.
        watch: is told of the epochs of steps that train, and may stop them.
        teacher: from a name to a frozen model on the CPU in eval mode, images in [0,1] to
            logits: an id of the catalogue, or ``base`` for the model before all steps.
        checkpoint: from the name of a stage of the step to the file that keeps its epochs;
            None keeps nothing.
        test: the images that are attacked later, for steps that are told to choose by them.
        shape: (C, H, W) of an image; None leaves it to the images above.
    """

    calibration: torch.Tensor | None = None
    seed: int = 0
    training: ImageSet | None = None
    device: torch.device = torch.device("cpu")  # noqa: RUF009  immutable
    watch: Watch = field(default_factory=Watch)
    teacher: Callable[[str], nn.Module] = _no_teacher
    checkpoint: Callable[[str], Checkpoint | None] = lambda _: None
    shape: tuple[int, int, int] | None = None
    test: ImageSet | None = None

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of an image; None if nothing here tells it."""
        if self.shape is None and self.calibration is not None:
            channels, height, width = self.calibration.shape[1:]
            return channels, height, width
        return self.shape if self.shape or self.training is None else self.training.shape
