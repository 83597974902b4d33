"""A dataset in one NumPy archive: x as uint8 NHWC or float NCHW in [0,1], y as integers."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.source import MOST_BYTES, Source, Split, expanded
from engine.errors import DataError

MAX_CLASSES = 100_000
"""Above this a label is no class number; the names of so many classes would fill the memory."""

_HINT = "Expected: x as uint8 (N,H,W,C) or float (N,C,H,W) in [0,1], and y as N integers."
_PARTS: dict[Split, tuple[str, ...]] = {"test": ("", "_test"), "training": ("_train",)}
"""What x and y of a part may end in."""

_LABELS = tuple(f"y{end}" for ends in _PARTS.values() for end in ends)

Arrays = dict[str, np.ndarray[Any, Any]]


def open_npz(name: str, part: Split) -> Source | None:
    """Read an archive: ``x`` and ``y``, or ``x_test`` and ``y_test``, are the test images,
    ``x_train`` and ``y_train`` the training images.

    Returns:
        The part; None if the archive has no training images.

    Raises:
        DataError: it is missing, damaged, or lacks x or y in the expected form.
    """
    path = expanded(name)
    arrays, end = _arrays(path, part)
    if end is None:
        return None
    x, y = arrays[f"x{end}"], arrays[f"y{end}"]
    if x.ndim != 4 or 0 in x.shape:
        raise _error(path, f"x{end} has the shape {x.shape}, but four sizes above 0 are needed")
    if y.shape != x.shape[:1]:
        raise _error(path, f"x{end} holds {len(x)} images but y{end} has the shape {y.shape}")
    classes = max(_classes(path, key, y) for key, y in arrays.items() if key.startswith("y"))
    pixels = _pixels(path, x)
    names = tuple(str(class_) for class_ in range(classes))
    channels, height, width = pixels.shape[1:]
    return Source(
        y.astype(np.int64), names, (channels, height, width), lambda chosen: pixels[chosen]
    )


def _classes(path: Path, key: str, y: np.ndarray[Any, Any]) -> int:
    """One more than the largest label."""
    if y.dtype.kind not in "iu":
        raise _error(path, f"{key} must hold integers from 0 up, but is {y.dtype}")
    if not y.size or y.min() < 0:
        low = f"goes down to {y.min()}" if y.size else "is empty"
        raise _error(path, f"{key} must hold integers from 0 up, but {low}")
    if y.max() >= MAX_CLASSES:
        raise _error(path, f"{key} reaches {y.max()}, but classes are numbered from 0 without gaps")
    return int(y.max()) + 1


def _arrays(path: Path, part: Split) -> tuple[Arrays, str | None]:
    """The pixels of a part and the labels of all parts; and what their names end in."""
    if not path.is_file():
        raise DataError(f"There is no file {path}.", "Check its path.")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError
        with np.load(path, allow_pickle=False) as archive:
            ends = [end for end in _PARTS[part] if f"x{end}" in archive.files]
            if not ends and part == "training":
                return {}, None
            end = ends[0] if ends else ""
            keys = {f"x{end}", f"y{end}", *(key for key in _LABELS if key in archive.files)}
            return {key: _array(path, archive, key) for key in sorted(keys)}, end
    except DataError:
        raise
    except Exception:  # noqa: BLE001  any bytes may stand there
        raise _error(path, "it is damaged or no NumPy archive of plain numbers") from None


def _array(path: Path, archive: Any, key: str) -> np.ndarray[Any, Any]:
    """One array; nothing that the archive does not hold is allocated.

    Raises:
        DataError: it is missing, too large, or its header claims another size than is there.
    """
    if key not in archive.files:
        raise _error(path, f"there is no array {key!r}")
    entry = archive.zip.getinfo(f"{key}.npy")
    with archive.zip.open(entry) as file:
        old = np.lib.format.read_magic(file) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        held = entry.file_size - file.tell()
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > MOST_BYTES:
        raise _error(
            path,
            f"{key} takes {claimed / 2**30:,.1f} GiB of memory, but at most "
            f"{MOST_BYTES / 2**30:.0f} are used",
        )
    if claimed != held and not dtype.hasobject:
        raise _error(path, f"the header of {key} claims {claimed:,} bytes, but {held:,} are there")
    found: np.ndarray[Any, Any] = archive[key]
    return found


def _pixels(path: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if x.dtype == np.uint8:
        if x.shape[3] not in (1, 3):
            raise _error(path, f"x is uint8 and ends in {x.shape[3]} channels instead of 1 or 3")
        return x.transpose(0, 3, 1, 2)
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
