"""Noise that belongs to an image, not to its place in a batch."""

from __future__ import annotations

import hashlib
import math

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

    An image gets the same noise alone, in any batch and in any order. The bits come from
    SHAKE-128 (FIPS 202), a hash of any length: a generator of its own for every image costs
    eight times as much where images are small.
    """

    def __init__(self, images: Tensor, labels: Tensor, seed: int) -> None:
        self._shape = tuple(images.shape[1:])
        self._device = images.device
        pixels = images.cpu().numpy()
        numbers = labels.tolist()
        self._keys = [
            hashlib.blake2b(image.tobytes() + f"|{label}|{seed}".encode(), digest_size=16).digest()
            for image, label in zip(pixels, numbers, strict=True)
        ]

    def uniform(self, rows: Tensor, restart: int) -> Tensor:
        """Values in [-1, 1) of shape (len(rows), C, H, W), float32."""
        return self.table(rows, str(restart), self._shape) * 2 - 1

    def table(self, rows: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
        """Values in [0, 1) of shape (len(rows), *shape), float32; another name, other values."""
        chosen, suffix = rows.tolist(), f"|{name}".encode()
        length = 4 * math.prod(shape)
        bits = b"".join(
            hashlib.shake_128(self._keys[row] + suffix).digest(length) for row in chosen
        )
        # The upper 24 bits: as many as a float32 below 1 can tell apart.
        drawn = (np.frombuffer(bits, "<u4") >> 8).astype(np.float32) * np.float32(2**-24)
        return torch.from_numpy(drawn.reshape(len(chosen), *shape)).to(self._device)
