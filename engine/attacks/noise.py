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
        return self.table(rows, str(restart), self._shape) * 2 - 1

    def table(self, rows: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
        """Values in [0, 1) of shape (len(rows), *shape), float32; another name, other values."""
        drawn = [self._draw(row, name, shape) for row in rows.tolist()]
        stacked = np.stack(drawn) if drawn else np.empty((0, *shape), np.float32)
        return torch.from_numpy(stacked).to(self._device)

    def _draw(self, row: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
        digest = self._keys[row].copy()
        digest.update(f"|{name}".encode())
        key = int.from_bytes(digest.digest(), "little")
        generator = np.random.Generator(np.random.Philox(key=key))
        return generator.random(shape, dtype=np.float32)
