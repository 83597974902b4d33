"""Input transformations: what they do to images, and the gradients that they are searched by."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from engine.compression.parts import ste
from engine.compression.parts.base import FrontPart
from engine.compression.parts.front import AsItIs, straight_through

Codes = NDArray[np.uint8]


class _Stepped(FrontPart):
    """One whose values are steps, so that its own gradient is 0 almost everywhere."""

    searched = "passes the gradient on as if it changed nothing (straight through, BPDA)"

    def naive(self) -> nn.Module:
        """See ``FrontPart.naive``."""
        return AsItIs(self)


class BitDepth(_Stepped):
    """Rounds pixels to 2^depth levels from 0 to 1 (Xu 2018, arXiv 1704.01155)."""

    kind = "bit-depth"

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W): round(x (2^b - 1)) / (2^b - 1), ties to even; gradient 1 on [0, 1]."""
        return ste.unit(images, 2**self.depth - 1)

    def options(self) -> dict[str, Any]:
        """See ``Part.options``."""
        return {"depth": self.depth}

    @classmethod
    def blank(cls, options: dict[str, Any]) -> BitDepth:
        """See ``FrontPart.blank``."""
        return cls(options["depth"])


class Jpeg(_Stepped):
    """Compresses each image to JPEG and back (Dziugaite 2016, arXiv 1608.00853).

    As Pillow writes it: baseline, with chroma halved (4:2:0). Pixels are rounded to 8 bits
    before. Three channels are RGB; of any others each is a grey picture.
    """

    kind = "jpeg"

    def __init__(self, quality: int) -> None:
        super().__init__()
        self.quality = quality

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) in [0, 1] to the same shape; the gradient is that of the identity."""
        return straight_through(images, self._decoded)

    def _decoded(self, images: torch.Tensor) -> torch.Tensor:
        codes = (images.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        channels = codes.shape[1]
        colour = channels == 3
        pictures = codes.permute(0, 2, 3, 1) if colour else codes.flatten(0, 1)
        found = np.empty(pictures.shape, np.uint8)
        for place, picture in enumerate(pictures.numpy()):
            found[place] = self._round_trip(picture)
        values = torch.from_numpy(found)
        values = values.permute(0, 3, 1, 2) if colour else values.reshape(codes.shape)
        return (values.float() / 255).to(images)

    def _round_trip(self, picture: Codes) -> Codes:
        """(H, W) grey or (H, W, 3) codes."""
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=self.quality)
        return np.asarray(Image.open(file, formats=["JPEG"]))

    def options(self) -> dict[str, Any]:
        """See ``Part.options``."""
        return {"quality": self.quality}

    @classmethod
    def blank(cls, options: dict[str, Any]) -> Jpeg:
        """See ``FrontPart.blank``."""
        return cls(options["quality"])


class Median(FrontPart):
    """The median of a square around each pixel, of each channel by itself (Xu 2018).

    As ``scipy.ndimage.median_filter`` has it: at the border the image is mirrored with its edge,
    and of an even count it is the larger of the two in the middle.
    """

    kind = "median"

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to the same shape; its gradient goes to the pixel that is the median."""
        wide = _mirrored(_mirrored(images, 2, self.size), 3, self.size)
        squares = wide.unfold(2, self.size, 1).unfold(3, self.size, 1).flatten(4)
        middle: torch.Tensor = squares.kthvalue(self.size**2 // 2 + 1, dim=4).values
        return middle

    def naive(self) -> nn.Module:
        """Nothing: whoever does not adapt attacks the network behind it."""
        return nn.Identity()

    def options(self) -> dict[str, Any]:
        """See ``Part.options``."""
        return {"size": self.size}

    @classmethod
    def blank(cls, options: dict[str, Any]) -> Median:
        """See ``FrontPart.blank``."""
        return cls(options["size"])


def _mirrored(images: torch.Tensor, dim: int, size: int) -> torch.Tensor:
    """An image with what a square of this size needs beyond its border, mirrored."""
    length, before = images.shape[dim], size // 2
    places = torch.arange(-before, length + size - 1 - before, device=images.device)
    places = torch.remainder(places, 2 * length)
    return images.index_select(dim, torch.minimum(places, 2 * length - 1 - places))


class RandomResize(FrontPart):
    """Resizes each image to a random side and pads it with zeros at a random place (Xie 2018).

    From side s to r, uniformly from s to s + d - 1, and padded to s + d, where d is the share
    ``growth`` of s, at least 1. Nearest pixels are taken. Each forward draws anew, for each
    image by itself, from the global generator.
    """

    kind = "random-resize"

    def __init__(self, growth: float) -> None:
        super().__init__()
        self.growth = growth

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C, H + d, W + d); the gradient is its own, of this draw."""
        return self.placed(images, torch.rand(len(images), 3))

    def placed(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """The images resized and placed by draws (N, 3) in [0, 1): of size, row and column."""
        height, width = images.shape[2:]
        frame = height + self.grown(height), width + self.grown(width)
        drawn = draws.tolist()
        return torch.cat(
            [
                self._one(image, frame, *draw)
                for image, draw in zip(torch.split(images, 1), drawn, strict=True)
            ]
            or [images.new_zeros(0, images.shape[1], *frame)]
        )

    def grown(self, side: int) -> int:
        """By how much a side grows: d."""
        return max(1, round(self.growth * side))

    def _one(
        self, image: torch.Tensor, frame: tuple[int, int], size: float, row: float, column: float
    ) -> torch.Tensor:
        """One image (1, C, H, W) at its place in the frame."""
        sides = [side + int(size * self.grown(side)) for side in image.shape[2:]]
        resized = functional.interpolate(image, size=sides, mode="nearest")
        top, left = (
            int(draw * (whole - side + 1))
            for draw, whole, side in zip((row, column), frame, sides, strict=True)
        )
        below, right = frame[0] - sides[0] - top, frame[1] - sides[1] - left
        return functional.pad(resized, (left, right, top, below))

    def naive(self) -> nn.Module:
        """Nothing: whoever does not adapt attacks the network behind it."""
        return nn.Identity()

    def options(self) -> dict[str, Any]:
        """See ``Part.options``."""
        return {"growth": self.growth}

    @classmethod
    def blank(cls, options: dict[str, Any]) -> RandomResize:
        """See ``FrontPart.blank``."""
        return cls(options["growth"])
