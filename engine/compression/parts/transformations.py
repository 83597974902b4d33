"""Input transformations: what they do to images, and the gradients that they are searched by."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

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
        with torch.no_grad():
            values = self._decoded(images)
        return straight_through(images, values)

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
