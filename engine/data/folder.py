"""A folder of pictures with one directory per class."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.data.image_set import Labels
from engine.data.source import Part, Source, expanded
from engine.errors import DataError

_GREY = {"1", "L", "LA"}
_COLOUR = {"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB"}
_TEST = ("test", "val")
_LAYOUT = (
    "Expected: one directory per class, with pictures of equal size inside; or train/ and test/ "
    "with one directory per class each."
)


def open_folder(name: str, part: Part) -> Source | None:
    """Look through a folder; the pixels are decoded only when they are wanted.

    The folder holds a directory per class, all test images; or it holds ``test`` (or ``val``)
    and perhaps ``train``, each with a directory per class. Grey pictures stay one channel; if
    any picture of the part has colour, all become RGB.

    Returns:
        The part; None if the folder has no training images.

    Raises:
        DataError: it is missing or empty, a picture is unreadable or of another size, or the
            two parts differ in their classes.
    """
    root, other = _parts(expanded(name), part)
    if root is None:
        return None
    classes = _classes(root)
    if other is not None:
        _same_classes(root, classes, other)
    files = [(file, number) for number, path in enumerate(classes) for file in _some(path)]
    target, (width, height) = _common(root, [file for file, _ in files])

    def read(chosen: Labels) -> npt.NDArray[np.uint8]:
        return np.stack([_decode(files[row][0], target) for row in chosen])

    labels = np.array([number for _, number in files], dtype=np.int64)
    shape = (1 if target == "L" else 3, height, width)
    return Source(labels, tuple(path.name for path in classes), shape, read)


def _parts(root: Path, part: Part) -> tuple[Path | None, Path | None]:
    """The folder of a part, and the one of the other part; None where there is none."""
    if not root.is_dir():
        raise DataError(f"There is no folder {root}.", "Check the path after 'folder'.")
    names = {path.name for path in entries(root) if path.is_dir()}
    tests = [root / name for name in _TEST if name in names]
    split = tests and names <= {"train", *_TEST} and any(one.is_dir() for one in entries(tests[0]))
    test = tests[0] if split else root
    training = root / "train" if split and "train" in names else None
    return (test, training) if part == "test" else (training, test)


def _same_classes(root: Path, classes: list[Path], other: Path) -> None:
    """Refuse parts whose labels would not mean the same."""
    differ = sorted({path.name for path in classes} ^ {path.name for path in _classes(other)})
    if differ:
        raise DataError(
            f"The class directory {differ[0]} is in only one of {root} and {other}.",
            "Both need the same classes, because labels are numbered by their sorted names.",
        )


def _common(root: Path, files: list[Path]) -> tuple[str, tuple[int, int]]:
    """The mode that holds all pictures, and the size (width, height) that all have."""
    modes, size = set(), None
    for file in files:
        mode, this = _header(file)
        modes.add(mode)
        size = size or this
        if this != size:
            raise DataError(
                f"The pictures in {root} differ in size: {file.name} is {this[0]}x{this[1]}, "
                f"{files[0].name} is {size[0]}x{size[1]}.",
                "Bring all pictures to the size the model expects.",
            )
    assert size is not None  # every class has a picture
    return "L" if modes <= _GREY else "RGB", size


def _classes(root: Path) -> list[Path]:
    found = entries(root)
    if not found:
        raise DataError(f"The folder {root} is empty.", _LAYOUT)
    classes = [path for path in found if path.is_dir()]
    if not classes:
        raise DataError(f"The folder {root} has no directory per class.", _LAYOUT)
    return classes


def _some(directory: Path) -> list[Path]:
    found = pictures(directory)
    if not found:
        raise DataError(f"The class directory {directory} holds no pictures.", _LAYOUT)
    return found


def pictures(directory: Path) -> list[Path]:
    """The files in a directory that Pillow reads by their ending, sorted."""
    known = _endings()
    return [path for path in entries(directory) if path.suffix.lower() in known and path.is_file()]


@cache
def _endings() -> frozenset[str]:
    from PIL import Image

    endings = Image.registered_extensions().items()
    return frozenset(ending for ending, kind in endings if kind in Image.OPEN)


def entries(directory: Path) -> list[Path]:
    """What lies in a directory, sorted, without hidden files.

    Raises:
        DataError: it cannot be read.
    """
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
        raise unreadable(file) from None
    if mode not in _GREY | _COLOUR:
        raise DataError(
            f"The picture {file} has the pixel format {mode}, but 8 bits a channel are needed.",
            "Convert it to 8-bit grey or RGB.",
        )
    return mode, size


def _decode(file: Path, mode: str) -> npt.NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise unreadable(file) from None
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def unreadable(file: Path) -> DataError:
    """The error for a picture that cannot be decoded."""
    return DataError(
        f"The picture {file} cannot be read.", "It may be truncated: replace or remove it."
    )
