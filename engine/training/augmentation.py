"""Random changes of training images that keep their class."""

from __future__ import annotations

import torch
from torch.nn import functional as F

_MAX_SHIFT = 1  # pixels; the digits fill their 8x8 frame, two would cut them off
_PADDING = 4
_SMALL = 24
"""Sides below this are shifted by a pixel; from this on they are cropped and flipped."""


def augmented(
    images: torch.Tensor, kind: str, generator: torch.Generator, *, mirrors: bool = True
) -> torch.Tensor:
    """Images as one pass sees them.

    Args:
        images: (N, C, H, W) in [0,1].
        kind: ``none``, ``shift`` (by one pixel), ``crop`` (after padding by four pixels),
            ``crop-flip`` (these, half of them mirrored: what CIFAR-10 is trained with), or
            ``auto``: crop-flip for colour pictures with sides from 24 pixels, crop if their
            mirror images are of no class, else shift.
        generator: on the CPU.
        mirrors: whether a mirrored image is still of its class; ``auto`` asks.
    """
    if kind == "auto":
        large = images.shape[1] == 3 and min(images.shape[-2:]) >= _SMALL
        crops = "crop-flip" if mirrors else "crop"
        kind = crops if large else "shift"
    if kind == "shift":
        return random_shift(images, generator)
    if kind in ("crop", "crop-flip"):
        moved = _moved(images, _PADDING, generator)
        if kind == "crop":
            return moved
        mirrored = torch.rand(len(images), generator=generator) < 0.5
        return torch.where(mirrored[:, None, None, None], moved.flip(-1), moved)
    return images


def random_shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Move each image by up to one pixel in each direction; what enters is black."""
    return _moved(images, _MAX_SHIFT, generator)


def _moved(images: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
    count, _, height, width = images.shape
    padded = F.pad(images, (most,) * 4)
    offsets = torch.randint(2 * most + 1, (2, count, 1), generator=generator)
    rows = (offsets[0] + torch.arange(height))[:, None, :, None]
    columns = (offsets[1] + torch.arange(width))[:, None, None, :]
    image = torch.arange(count)[:, None, None, None]
    channel = torch.arange(images.shape[1])[None, :, None, None]
    return padded[image, channel, rows, columns]
