"""MNIST (LeCun 1998), from the idx files as torchvision lays them out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from engine.data.published import damaged, part_files
from engine.data.source import Source, Split, check_labels

_SIDE = 28
_NAMES = tuple(str(digit) for digit in range(10))


def open_mnist(root: str, part: Split) -> Source:
    """Read one part.

    Raises:
        DataError: a file is missing, damaged, of another shape or mislabelled.
    """
    from torchvision.datasets.mnist import read_image_file, read_label_file

    images_file, labels_file = part_files("mnist", root, part)
    images = _read(images_file, read_image_file)
    labels = _read(labels_file, read_label_file).numpy().astype(np.int64)
    if images.shape[1:] != (_SIDE, _SIDE):
        height, width = images.shape[1:]
        raise damaged(images_file, f"its pictures are {height}x{width} instead of 28x28")
    if len(labels) != len(images):
        raise damaged(labels_file, f"it has {len(labels)} labels for {len(images)} images")
    check_labels(labels, len(_NAMES), f"The file {labels_file}")
    pixels = images.numpy()[:, None]
    return Source(labels, _NAMES, (1, _SIDE, _SIDE), lambda chosen: pixels[chosen])


def _read(file: Path, reader: Callable[[str], torch.Tensor]) -> torch.Tensor:
    try:
        return reader(str(file))
    except (AssertionError, LookupError, OSError, RuntimeError, TypeError, ValueError):
        raise damaged(file, "it is truncated or no idx file of bytes") from None
