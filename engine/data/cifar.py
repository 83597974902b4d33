"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), from the Python batches that torchvision uses too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.image_set import Labels
from engine.data.published import damaged, part_files
from engine.data.source import Source, Split, check_labels
from engine.data.unpickle import read_table

_SHAPE = (3, 32, 32)
_LAYOUT = {
    "cifar10": ("batches.meta", "label_names", "labels", 10),
    "cifar100": ("meta", "fine_label_names", "fine_labels", 100),
}
"""The file of class names, its key, the key of the labels, the number of classes."""


def open_cifar(name: str, root: str, part: Split) -> Source:
    """Read one part.

    Raises:
        DataError: a file is missing, damaged, of another shape or mislabelled.
    """
    meta, names_key, labels_key, classes = _LAYOUT[name]
    paths = part_files(name, root, part)
    names_file = paths[0].with_name(meta)
    if names_file not in paths:
        part_files(name, root, "test")  # the names lie there
    names = _names(names_file, names_key, classes)
    batches = [_batch(path, labels_key, classes) for path in paths if path.name != meta]
    pixels = np.concatenate([batch[0] for batch in batches])
    labels = np.concatenate([batch[1] for batch in batches])
    return Source(labels, names, _SHAPE, lambda chosen: pixels[chosen])


def _names(file: Path, key: str, classes: int) -> tuple[str, ...]:
    names = read_table(file).get(key)
    if not isinstance(names, list):
        raise damaged(file, f"it has no {key}")
    if len(names) != classes:
        raise damaged(file, f"it names {len(names)} classes instead of {classes}")
    return tuple(
        one.decode("ascii", "replace") if isinstance(one, bytes) else str(one) for one in names
    )


def _batch(file: Path, labels_key: str, classes: int) -> tuple[npt.NDArray[np.uint8], Labels]:
    table = read_table(file)
    for key in ("data", labels_key):
        if key not in table:
            raise damaged(file, f"it has no {key}")
    pixels, labels = table["data"], _integers(table[labels_key])
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        raise damaged(file, "its data are no array of bytes")
    if pixels.ndim != 2 or pixels.shape[1] != np.prod(_SHAPE):
        raise damaged(file, f"its data have the shape {pixels.shape} instead of (images, 3072)")
    if labels is None or len(labels) != len(pixels):
        raise damaged(file, f"it holds {len(pixels)} images but not as many labels")
    return pixels.reshape(-1, *_SHAPE), check_labels(labels, classes, f"The file {file}")


def _integers(values: Any) -> Labels | None:
    if isinstance(values, np.ndarray):
        return values.astype(np.int64)
    fine = isinstance(values, list) and all(type(one) is int for one in values)
    return np.array(values, dtype=np.int64) if fine else None
