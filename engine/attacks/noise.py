"""Noise that belongs to an image, not to its place in a batch."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def batch_seed(images: Tensor, labels: Tensor, seed: int) -> int:
    """A 63-bit seed for attacks that draw for a whole batch: other images, other noise."""
    digest = hashlib.blake2b(images.cpu().numpy().tobytes(), digest_size=8)
    digest.update(f"|{labels.tolist()}|{seed}".encode())
    return int.from_bytes(digest.digest(), "little") >> 1


class ImageNoise:
    """Uniform noise derived from seed, pixels, label and restart of each image.

    An image gets the same noise alone, in any batch and in any order.
    """

    def __init__(self, images: Tensor, labels: Tensor, seed: int) -> None:
        self._shape = tuple(images.shape[1:])
        self._device = images.device
        pixels = images.cpu().numpy()
        numbers = labels.tolist()
        self._keys = [
            hashlib.blake2b(image.tobytes() + f"|{label}|{seed}".encode(), digest_size=16)
            for image, label in zip(pixels, numbers, strict=True)
        ]

    def uniform(self, rows: Tensor, restart: int) -> Tensor:
        """Values in [-1, 1) of shape (len(rows), C, H, W), float32."""
        drawn = [self._draw(row, restart) for row in rows.tolist()]
        stacked = np.stack(drawn) if drawn else np.empty((0, *self._shape), np.float32)
        return torch.from_numpy(stacked).to(self._device)

    def _draw(self, row: int, restart: int) -> np.ndarray:
        digest = self._keys[row].copy()
        digest.update(f"|{restart}".encode())
        key = int.from_bytes(digest.digest(), "little")
        generator = np.random.Generator(np.random.Philox(key=key))
        return generator.random(self._shape, dtype=np.float32) * 2 - 1
