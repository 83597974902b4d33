"""The images a study looks at, and the order they come in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with labels, on the CPU.

    Attributes:
        images: (N, C, H, W) float32 in [0,1].
        labels: (N,) int64.
        indices: (N,) int64, the position of each image in the full set.
        class_names: name of each class, in the order of the labels.
        id: the catalogue id of the dataset.
        label: a short name for tables.
    """

    images: torch.Tensor
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

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the shape, the pixels and the labels."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.images.contiguous().numpy().tobytes())
        digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()


def stratified_order(labels: Labels, seed: int) -> Labels:
    """A seeded permutation in which every prefix holds all classes in nearly equal share.

    Within a class the order is random; the classes are interleaved by rank. A prefix holds of
    each class its proportional share, give or take one image.

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
