"""A dataset in one NumPy archive: x as uint8 NHWC or float NCHW in [0,1], y as integers."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.source import Source, expanded
from engine.errors import DataError

MAX_CLASSES = 100_000
"""Above this a label is no class number; the names of so many classes would fill the memory."""

_HINT = "Expected: x as uint8 (N,H,W,C) or float (N,C,H,W) in [0,1], and y as N integers."


def open_npz(name: str) -> Source:
    """Read an archive.

    Raises:
        DataError: it is missing, damaged, or lacks x or y in the expected form.
    """
    path = expanded(name)
    x, y = _arrays(path)
    if x.ndim != 4 or 0 in x.shape:
        raise _error(path, f"x has the shape {x.shape}, but four sizes above 0 are needed")
    if y.shape != x.shape[:1]:
        raise _error(path, f"x holds {len(x)} images but y has the shape {y.shape}")
    if y.dtype.kind not in "iu" or y.min() < 0:
        raise _error(path, f"y must hold integers from 0 up, but is {y.dtype} from {y.min()}")
    if y.max() >= MAX_CLASSES:
        raise _error(path, f"y reaches {y.max()}, but classes are numbered from 0 without gaps")
    pixels = _pixels(path, x)
    names = tuple(str(class_) for class_ in range(int(y.max()) + 1))
    return Source(y.astype(np.int64), names, lambda chosen: pixels[chosen])


def _arrays(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    if not path.is_file():
        raise DataError(f"There is no file {path}.", "Check the path after 'npz'.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive["x"], archive["y"]
    except KeyError as error:
        raise _error(path, f"there is no array {str(error).split()[0]}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, TypeError):
        raise _error(path, "it is damaged or no NumPy archive of plain numbers") from None


def _pixels(path: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if x.dtype == np.uint8:
        if x.shape[3] not in (1, 3):
            raise _error(path, f"x is uint8 and ends in {x.shape[3]} channels instead of 1 or 3")
        return x.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    if x.dtype.kind != "f":
        raise _error(path, f"x is {x.dtype} instead of uint8 or float")
    if x.shape[1] not in (1, 3):
        raise _error(path, f"x is float and has {x.shape[1]} channels instead of 1 or 3")
    low, high = float(x.min()), float(x.max())
    if not (low >= 0 and high <= 1):  # also catches NaN
        raise _error(path, f"x runs from {low:g} to {high:g} instead of 0 to 1")
    return x.astype(np.float32)


def _error(path: Path, reason: str) -> DataError:
    return DataError(f"The archive {path.name} cannot be used: {reason}.", _HINT)
