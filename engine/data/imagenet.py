"""ImageNet (ILSVRC 2012): a directory per synset, resized and cropped as torchvision's weights
expect it, without their normalisation, which belongs to the model."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.data.folder import entries, pictures
from engine.data.image_set import Labels
from engine.data.source import Source, Split, expanded
from engine.errors import DataError
from engine.safe_files.pictures import Cut, decode

CLASSES = 1000
MAPPING = "LOC_synset_mapping.txt"
"""The list of synsets and their names, as it comes with the Kaggle copy of the dataset."""

_WNID = re.compile(r"n\d{8}")
_HINT = (
    f"Expected: all {CLASSES:,} directories (some may be empty), or the file {MAPPING} beside "
    "them, with one synset per line."
)


def open_imagenet(root: str, part: Split, cut: Cut) -> Source | None:
    """Look through the folder of a part; pictures are decoded only when they are wanted.

    The label of a picture is the place of its synset in the sorted list of all 1,000, which is
    the order of published weights. The directories are that list if all are there; else it is
    read from ``LOC_synset_mapping.txt`` in the folder or in its parent.

    Args:
        root: holds ``val`` and perhaps ``train``; or is itself the validation folder.
        part: which of the two.
        cut: how pictures are brought to one size.

    Raises:
        DataError: it is missing, empty, or its classes cannot be told.
    """
    folder = _part_folder(expanded(root), part)
    if folder is None:
        return None
    directories = [path for path in entries(folder) if path.is_dir()]
    synsets, names = _classes(folder, [path.name for path in directories])
    number = {synset: place for place, synset in enumerate(synsets)}
    files = [(file, number[path.name]) for path in directories for file in pictures(path)]
    if not files:
        raise DataError(f"The folder {folder} holds no pictures.", _HINT)

    def read(chosen: Labels) -> npt.NDArray[np.uint8]:
        return np.stack([decode(files[row][0], "RGB", cut) for row in chosen])

    labels = np.array([label for _, label in files], dtype=np.int64)
    return Source(labels, names, (3, cut.crop, cut.crop), read)


def _part_folder(root: Path, part: Split) -> Path | None:
    if not root.is_dir():
        raise DataError(
            f"There is no folder {root}.",
            "Name the folder that holds val/ with root; ImageNet is fetched from image-net.org.",
        )
    if part == "training":
        return root / "train" if (root / "train").is_dir() else None
    return root / "val" if (root / "val").is_dir() else root


def _classes(folder: Path, found: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """The 1,000 synsets in order, and a name for each."""
    strange = [name for name in found if not _WNID.fullmatch(name)]
    if strange or not found:
        what = f"has the directory {strange[0]}, which is" if strange else "has no directory with"
        raise DataError(f"The folder {folder} {what} no synset id such as n01440764.", _HINT)
    mapping = next(
        (path for path in (folder / MAPPING, folder.parent / MAPPING) if path.is_file()), None
    )
    if mapping is None and len(found) != CLASSES:
        raise DataError(
            f"The folder {folder} has {len(found)} of {CLASSES:,} synsets, so their class "
            "numbers cannot be told.",
            _HINT,
        )
    synsets, names = _read_mapping(mapping) if mapping else (sorted(found), _names())
    unknown = sorted(set(found) - set(synsets))
    if unknown:
        raise DataError(f"The directory {folder / unknown[0]} is not in {mapping}.", _HINT)
    return synsets, names


def _read_mapping(file: Path) -> tuple[list[str], tuple[str, ...]]:
    try:
        lines = file.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        raise DataError(f"The file {file} cannot be read as text.", _HINT) from None
    pairs = [line.strip().partition(" ") for line in lines if line.strip()]
    synsets = [synset for synset, _, _ in pairs]
    strange = [synset for synset in synsets if not _WNID.fullmatch(synset)]
    if strange:
        raise DataError(f"The file {file} has a line that starts with {strange[0]!r}.", _HINT)
    if len(synsets) != CLASSES or any(one >= two for one, two in pairwise(synsets)):
        raise DataError(
            f"The file {file} has {len(synsets):,} lines instead of {CLASSES:,} synsets in sorted "
            "order, each once.",
            _HINT,
        )
    return synsets, tuple(name.split(",")[0].strip() or synset for synset, _, name in pairs)


def _names() -> tuple[str, ...]:
    from torchvision.models import ResNet50_Weights

    return tuple(ResNet50_Weights.DEFAULT.meta["categories"])
