"""A folder of pictures with one directory per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.data.image_set import Labels
from engine.data.source import Source, expanded
from engine.errors import DataError

_GREY = {"1", "L", "LA"}
_COLOUR = {"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB"}
_LAYOUT = "Expected: one directory per class, with pictures of equal size inside."


def open_folder(name: str) -> Source:
    """Look through a folder; the pixels are decoded only when they are wanted.

    Grey pictures stay one channel; if any picture has colour, all become RGB.

    Raises:
        DataError: it is missing or empty, or a picture is unreadable or of another size.
    """
    root = expanded(name)
    classes = _classes(root)
    files = [(file, number) for number, path in enumerate(classes) for file in _pictures(path)]
    modes, size = set(), None
    for file, _ in files:
        mode, this = _header(file)
        modes.add(mode)
        size = size or this
        if this != size:
            raise DataError(
                f"The pictures in {root} differ in size: {file.name} is {this[0]}x{this[1]}, "
                f"{files[0][0].name} is {size[0]}x{size[1]}.",
                "Bring all pictures to the size the model expects.",
            )
    target = "L" if modes <= _GREY else "RGB"

    def read(chosen: Labels) -> npt.NDArray[np.float32]:
        return np.stack([_decode(files[row][0], target) for row in chosen])

    labels = np.array([number for _, number in files], dtype=np.int64)
    return Source(labels, tuple(path.name for path in classes), read)


def _classes(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"There is no folder {root}.", "Check the path after 'folder'.")
    entries = _entries(root)
    if not entries:
        raise DataError(f"The folder {root} is empty.", _LAYOUT)
    classes = [path for path in entries if path.is_dir()]
    if not classes:
        raise DataError(f"The folder {root} has no directory per class.", _LAYOUT)
    return classes


def _pictures(directory: Path) -> list[Path]:
    from PIL import Image

    known = {ext for ext, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    found = [
        path for path in _entries(directory) if path.suffix.lower() in known and path.is_file()
    ]
    if not found:
        raise DataError(f"The class directory {directory} holds no pictures.", _LAYOUT)
    return found


def _entries(directory: Path) -> list[Path]:
    try:
        return [path for path in sorted(directory.iterdir()) if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"The folder {directory} cannot be read: {error.strerror}.", "Check its permissions."
        ) from None


def _header(file: Path) -> tuple[str, tuple[int, int]]:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            mode, size = picture.mode, picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise _unreadable(file) from None
    if mode not in _GREY | _COLOUR:
        raise DataError(
            f"The picture {file} has the pixel format {mode}, but 8 bits a channel are needed.",
            "Convert it to 8-bit grey or RGB.",
        )
    return mode, size


def _decode(file: Path, mode: str) -> npt.NDArray[np.float32]:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert(mode), dtype=np.float32) / np.float32(255)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise _unreadable(file) from None
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _unreadable(file: Path) -> DataError:
    return DataError(
        f"The picture {file} cannot be read.", "It may be truncated: replace or remove it."
    )
