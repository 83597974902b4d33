"""SVHN, cropped digits (Netzer 2011), from its MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.matlab import Unreadable, read_matrices
from engine.data.published import damaged, part_files
from engine.data.source import MOST_BYTES, Source, Split, check_labels

_NAMES = tuple(str(digit) for digit in range(10))


def open_svhn(root: str, part: Split) -> Source:
    """Read one part; the digit 0, which the files call 10, gets the label 0.

    Raises:
        DataError: the file is missing, damaged, of another shape or mislabelled.
    """
    (file,) = part_files("svhn", root, part)
    pixels, labels = _arrays(file)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3):
        raise damaged(file, f"X is {pixels.dtype} {pixels.shape} instead of uint8 (32, 32, 3, N)")
    if labels.size != pixels.shape[3] or labels.dtype.kind not in "iu":
        raise damaged(file, f"y is {labels.dtype} {labels.shape} for {pixels.shape[3]} images")
    digits = labels.ravel().astype(np.int64)
    if digits.size and not (digits.min() >= 1 and digits.max() <= 10):
        raise damaged(file, f"y runs from {digits.min()} to {digits.max()} instead of 1 to 10")
    check_labels(digits % 10, len(_NAMES), f"The file {file}")
    images = pixels.transpose(3, 2, 0, 1)
    return Source(digits % 10, _NAMES, (3, 32, 32), lambda chosen: images[chosen])


def _arrays(file: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    try:
        found = read_matrices(file.read_bytes(), ("X", "y"), MOST_BYTES)
    except Unreadable as error:
        raise damaged(file, str(error)) from None
    for key in ("X", "y"):
        if key not in found:
            raise damaged(file, f"it has no variable {key}")
    return found["X"], found["y"]
