"""What a reader hands over: all labels, and the pixels of those images that are wanted."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engine.data.image_set import Labels
from engine.errors import DataError, quoted

Pixels = npt.NDArray[np.floating[Any]] | npt.NDArray[np.uint8]
Split = Literal["test", "training"]

MOST_BYTES = 8 * 2**30
"""What one part of a dataset may take in memory; above it people are asked for fewer images."""


def expanded(name: str) -> Path:
    """The path a person wrote, ``~`` included.

    Raises:
        DataError: nobody knows where that home is, or no such path can be.
    """
    try:
        path = Path(name).expanduser()
        os.stat(path)
    except RuntimeError:
        raise DataError(
            f"The path {name!r} starts in an unknown home folder.", "Write it in full."
        ) from None
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return path  # what should be there is for others to say
    except OSError as error:
        raise DataError(
            f"The path {quoted(name)} cannot be used: {error.strerror}.", "Name another one."
        ) from None
    return path


def check_labels(labels: Labels, classes: int, where: str) -> Labels:
    """Labels that number ``classes`` classes from 0, and are there.

    Raises:
        DataError: there are none, or one is out of range.
    """
    if labels.ndim != 1 or not len(labels):
        raise DataError(f"{where} holds no labels.", "Replace it.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"{where} has labels from {low} to {high}, but {classes} classes are numbered from 0 "
            f"to {classes - 1}.",
            "It is damaged or another dataset: replace it.",
        )
    return labels


@dataclass(frozen=True)
class Source:
    """A part of a dataset before selection.

    Attributes:
        labels: (N,) int64.
        class_names: in the order of the labels.
        shape: (C, H, W) of one image.
        read: takes positions (n,), returns pixels (n, C, H, W): uint8, or floats in [0,1].
        mixed: whether the images lie in a random, stratified order already.
    """

    labels: Labels
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    read: Callable[[Labels], Pixels]
    mixed: bool = False
