"""A folder of pictures with one directory per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.data.image_set import Labels
from engine.data.source import Source, Split, expanded
from engine.errors import DataError
from engine.safe_files.pictures import GREY, Cut, decode, endings, header

_TEST = ("test", "val")
_LAYOUT = (
    "Expected: one directory per class, with pictures inside; or train/ and test/ "
    "with one directory per class each."
)


def open_folder(name: str, part: Split, cut: Cut | None = None) -> Source | None:
    """Look through a folder; the pixels are decoded only when they are wanted.

    The folder holds a directory per class, all test images; or it holds ``test`` (or ``val``)
    and perhaps ``train``, each with a directory per class. Grey pictures stay one channel; if
    any picture of the part has colour, all become RGB.

    Args:
        name: the folder; ``~`` is the home folder.
        part: which part.
        cut: how pictures are brought to one size; None if they have one already.

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
    target, size = _common(root, [file for file, _ in files], cut)

    def read(chosen: Labels) -> npt.NDArray[np.uint8]:
        return np.stack([decode(files[row][0], target, cut) for row in chosen])

    labels = np.array([number for _, number in files], dtype=np.int64)
    channels = 1 if target == "L" else 3
    return Source(labels, tuple(path.name for path in classes), (channels, *size), read)


def _parts(root: Path, part: Split) -> tuple[Path | None, Path | None]:
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


def _common(root: Path, files: list[Path], cut: Cut | None) -> tuple[str, tuple[int, int]]:
    """The mode that holds all pictures, and the size (height, width) that all come to have."""
    headers = [header(file) for file in files]
    mode = "L" if {one.mode for one in headers} <= GREY else "RGB"
    if cut is not None:
        return mode, (cut.crop, cut.crop)
    first = headers[0]  # every class has a picture
    for file, one in zip(files, headers, strict=True):
        if one[1:] != first[1:]:
            side = min(min(found.width, found.height) for found in headers)
            raise DataError(
                f"The pictures in {root} differ in size: {file.name} is {one.width}x{one.height}, "
                f"{files[0].name} is {first.width}x{first.height}.",
                "Bring them to the size the model takes: resize is the shorter side, crop the "
                f"square cut from the middle, for example resize = {side} and crop = {side}.",
                field="resize",
            )
    return mode, (first.height, first.width)


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
    known = endings()
    return [path for path in entries(directory) if path.suffix.lower() in known and path.is_file()]


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
