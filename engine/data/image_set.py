"""The images a study looks at, and the order they come in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from engine.host.memory import memory_errors

Labels = npt.NDArray[np.int64]

_FULL = 255.0

_ONE_WAY = frozenset({"svhn"})
"""Datasets in colour whose mirrored images are of no class; grey ones nobody mirrors."""


@dataclass(frozen=True, eq=False)
class ByteImages:
    """Images kept as bytes, a quarter of the memory; an index gives floats, as of a tensor.

    Attributes:
        pixels: (N, C, H, W) uint8.
    """

    pixels: torch.Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """Those images as float32 in [0,1]."""
        chosen = self.pixels[rows]
        # A divisor on the device: by a number of the CPU, CUDA multiplies by its reciprocal.
        return chosen.float() / torch.full((), _FULL, device=chosen.device)

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)."""
        return self.pixels.shape

    def take(self, rows: torch.Tensor) -> ByteImages:
        """Those images, still bytes."""
        return ByteImages(self.pixels[rows])


Images = torch.Tensor | ByteImages
"""Both give float32 images in [0,1] when indexed by a slice or by positions."""


def take(images: Images, rows: torch.Tensor) -> Images:
    """Some of the images, kept as they are kept."""
    return images.take(rows) if isinstance(images, ByteImages) else images[rows]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with labels.

    Attributes:
        images: (N, C, H, W) float32 in [0,1]; many training images are kept as bytes and give
            floats when indexed.
        labels: (N,) int64.
        indices: (N,) int64, the position of each image in the full set.
        class_names: name of each class, in the order of the labels.
        id: the catalogue id of the dataset.
        label: a short name for tables.
    """

    images: Images
    labels: torch.Tensor
    indices: torch.Tensor
    class_names: tuple[str, ...]
    id: str
    label: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def mirrors(self) -> bool:
        """Whether a mirrored image is still of its class: a mirrored 2 is no digit."""
        return self.id not in _ONE_WAY

    @property
    def lesson(self) -> str:
        """What a training on these images depends on: the fingerprint, and ``mirrors``."""
        return self.fingerprint if self.mirrors else f"{self.fingerprint} not mirrored"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the shape, the pixels as they are kept, and the labels."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        kept = self.images.pixels if isinstance(self.images, ByteImages) else self.images
        digest.update(kept.cpu().contiguous().numpy().data)
        digest.update(self.labels.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def on(self, device: torch.device) -> ImageSet:
        """The same with images and labels on a device, or as it is if they do not fit there.

        Attacks and gates then take their batches without another upload.
        """
        if not isinstance(self.images, torch.Tensor) or self.images.device == device:
            return self
        try:
            with memory_errors():
                images, labels = self.images.to(device), self.labels.to(device)
        except torch.OutOfMemoryError:
            return self
        moved = replace(self, images=images, labels=labels)
        moved.__dict__["fingerprint"] = self.fingerprint  # once, before the images have moved
        return moved


def stratified_order(labels: Labels, seed: int) -> Labels:
    """A seeded permutation in which every prefix holds all classes in nearly equal share.

    Within a class the order is random; the classes are interleaved by rank. Of a class with n of
    the N images of K classes, a prefix holds its proportional share, give or take
    (1 + K n / N) / 2 images: one, where all classes are of one size.

    Args:
        labels: (N,) class of each image.
        seed: in [0, 2**32).
    """
    # RandomState and not a Generator: only its stream is promised never to change.
    random = np.random.RandomState(seed)
    place = np.empty(len(labels))
    for class_ in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == class_))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    order: Labels = np.lexsort((random.permutation(len(labels)), place)).astype(np.int64)
    return order
