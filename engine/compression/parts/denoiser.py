"""A small U-Net that takes noise off images, in front of a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from engine.compression.parts.base import FrontPart


def _twice(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Denoiser(FrontPart):
    """The image plus what a U-Net of three scales predicts: minus the noise (Liao 2018).

    A fresh one changes nothing: its last layer is 0.

    Args:
        channels: of an image.
        width: channels of the finest scale; the others have twice and four times as many.
        seed: of the initial weights.
    """

    kind = "denoiser"

    def __init__(self, channels: int, width: int, seed: int = 0) -> None:
        super().__init__()
        self.channels, self.width = channels, width
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.fine = _twice(channels, width)
            self.middle = _twice(width, 2 * width, stride=2)
            self.coarse = _twice(2 * width, 4 * width, stride=2)
            self.to_middle = _twice(6 * width, 2 * width)
            self.to_fine = _twice(3 * width, width)
            self.noise = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.noise.weight)
        assert self.noise.bias is not None
        nn.init.zeros_(self.noise.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to the same shape; the gradient is its own."""
        fine = self.fine(images)
        middle = self.middle(fine)
        up = _as_large(self.coarse(middle), middle)
        middle = self.to_middle(torch.cat([middle, up], dim=1))
        fine = self.to_fine(torch.cat([fine, _as_large(middle, fine)], dim=1))
        cleaned: torch.Tensor = images + self.noise(fine)
        return cleaned

    def naive(self) -> nn.Module:
        """Nothing: whoever does not adapt attacks the network behind it."""
        return nn.Identity()

    def options(self) -> dict[str, Any]:
        """See ``Part.options``."""
        return {"channels": self.channels, "width": self.width}

    @classmethod
    def blank(cls, options: dict[str, Any]) -> Denoiser:
        """See ``FrontPart.blank``."""
        return cls(options["channels"], options["width"])


def _as_large(small: torch.Tensor, large: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(small, size=large.shape[2:], mode="nearest")
