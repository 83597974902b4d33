"""Whether a model can take images, told from file names and headers before anything is loaded.

The engine checks every image when a study starts; this only says early what is sure already.
"""

from __future__ import annotations

import itertools
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engine.errors import DataError
from engine.safe_files.pictures import GREY, Cut, Header, endings, header
from engine.specs.dataset import DatasetSpec

_MOST_LOOKED_AT = 24
"""Class directories of which one picture is opened."""

_PUBLISHED = {
    "digits": ((1, 8, 8), 10, 500),
    "mnist": ((1, 28, 28), 10, 10_000),
    "cifar10": ((3, 32, 32), 10, 10_000),
    "cifar100": ((3, 32, 32), 100, 10_000),
    "svhn": ((3, 32, 32), 10, 26_032),
}
_TESTS = ("test", "val")


@dataclass(frozen=True)
class ImagesFound:
    """What is known of images from the outside.

    Attributes:
        shape: (C, H, W); None if it cannot be told.
        classes: their number; None if it cannot be told.
        at_least: there may be more classes than that.
        mixed: pictures of a folder were seen to differ in size, and nothing brings them to one.
        tests: the number of test images; None if it cannot be told quickly.
    """

    shape: tuple[int, int, int] | None = None
    classes: int | None = None
    at_least: bool = False
    mixed: bool = False
    tests: int | None = None


def look_at(spec: DatasetSpec) -> ImagesFound:
    """What the images of a study are, as far as can be told quickly; never fails."""
    if spec.id in _PUBLISHED:
        shape, classes, tests = _PUBLISHED[spec.id]
        return ImagesFound(shape, classes, tests=tests)
    if spec.id == "imagenet":
        assert spec.cut is not None
        return ImagesFound((3, spec.cut.crop, spec.cut.crop))  # a part of ImageNet may lack classes
    try:
        if spec.folder:
            return _folder(Path(spec.folder).expanduser(), spec.cut)
        return _archive(Path(spec.npz or "").expanduser())
    except Exception:  # noqa: BLE001  any bytes may stand there
        return ImagesFound()  # what is wrong there is said when the study starts


class Taker(Protocol):
    """A model as far as its images go: their (C, H, W), and how many classes it knows."""

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def classes(self) -> int: ...


def misfit(look: ImagesFound, model: Taker) -> str:
    """Why a model cannot take such images and what to do, in one line; empty if it may."""
    if look.mixed:
        return "Does not fit: the pictures differ in size. Bring them to one size."
    if look.shape is not None and look.shape != model.shape:
        return (
            f"Does not fit: the images are {_size(look.shape)}, the model takes "
            f"{_size(model.shape)}. Choose other images, or convert them."
        )
    if look.classes is None:
        return ""
    if look.classes > model.classes or (look.classes < model.classes and not look.at_least):
        return (
            f"Does not fit: the images have {look.classes} classes, the model knows "
            f"{model.classes}. Choose the images that it was trained for."
        )
    return ""


def _size(shape: tuple[int, int, int]) -> str:
    colour = {1: " grey", 3: " colour"}.get(shape[0], f" with {shape[0]} channels")
    return f"{shape[1]}x{shape[2]}{colour}"


def some_pictures(spec: DatasetSpec, count: int) -> list[Path]:
    """Up to so many test pictures of a folder or of imagenet, one of each class.

    Raises:
        DataError: there is none.
    """
    place = Path(spec.folder or spec.place).expanduser()
    try:
        root, names = _tests(place)
        first = (_first(root / name) for name in names)
        found = list(itertools.islice((one for one in first if one is not None), count))
    except OSError as error:
        raise DataError(
            f"The folder {place} cannot be read: {error.strerror}.", "Check the path."
        ) from None
    if not found:
        raise DataError(f"The folder {place} holds no pictures.", "Choose another one.")
    return found


def _first(directory: Path) -> Path | None:
    known = endings()
    files = (path for path in _files(directory) if path.suffix.lower() in known)
    return min(itertools.islice(files, _MOST_LOOKED_AT), default=None)


def _tests(root: Path) -> tuple[Path, list[str]]:
    """The folder of the test images, and the directories of its classes."""
    names = _directories(root)
    tests = [root / name for name in _TESTS if name in names]
    if tests and set(names) <= {"train", *_TESTS} and _directories(tests[0]):
        return tests[0], _directories(tests[0])
    return root, names


def _folder(root: Path, cut: Cut | None) -> ImagesFound:
    root, names = _tests(root)
    if not names:
        return ImagesFound()
    looked = names[:_MOST_LOOKED_AT]
    headers = [found for name in looked if (found := _header(root / name)) is not None]
    if not headers:
        return ImagesFound(None, len(names))
    channels = 1 if all(one.mode in GREY for one in headers) else 3
    if cut is not None:
        return ImagesFound((channels, cut.crop, cut.crop), len(names))
    if len({one[1:] for one in headers}) > 1:
        return ImagesFound(None, len(names), mixed=True)
    return ImagesFound((channels, headers[0].height, headers[0].width), len(names))


def _directories(root: Path) -> list[str]:
    with os.scandir(root) as found:
        return sorted(one.name for one in found if one.is_dir() and not one.name.startswith("."))


def _header(directory: Path) -> Header | None:
    """Of one picture of a class."""
    for path in itertools.islice(_files(directory), 3):
        try:
            return header(path)
        except DataError:
            continue
    return None


def _files(directory: Path) -> Iterator[Path]:
    with os.scandir(directory) as found:
        for one in found:
            if one.is_file() and not one.name.startswith("."):
                yield Path(one.path)


def _archive(path: Path) -> ImagesFound:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        end = "" if "x.npy" in names else "_test"
        shape, kind = _array_header(archive, f"x{end}.npy")
        labels = _labels(archive, f"y{end}.npy")
    if len(shape) != 4:
        return ImagesFound(None, labels, at_least=True)
    tests, *sides = shape
    channels, height, width = sides if kind.kind == "f" else (sides[2], sides[0], sides[1])
    return ImagesFound((channels, height, width), labels, at_least=True, tests=tests)


def _array_header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        with archive.open(name) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read = np.lib.format.read_array_header_2_0
            shape, _, kind = read(file)
    except KeyError:
        raise ValueError(f"there is no {name}") from None
    return shape, kind


def _labels(archive: zipfile.ZipFile, name: str) -> int | None:
    """One more than the largest label."""
    shape, kind = _array_header(archive, name)
    if len(shape) != 1 or kind.kind not in "iu" or not 0 < shape[0] <= 10_000_000:
        return None
    with archive.open(name) as file:
        return int(np.lib.format.read_array(file, allow_pickle=False).max()) + 1
