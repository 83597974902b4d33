"""What the readers of published datasets share."""

from __future__ import annotations

from pathlib import Path

from engine.catalog.datasets import FILES
from engine.data.source import Split, expanded
from engine.errors import DataError


def part_files(name: str, root: str, part: Split) -> list[Path]:
    """The files of one part of a published dataset, all there.

    Raises:
        DataError: the root or a file is missing; the hint says how to get it.
    """
    folder = expanded(root)
    files = FILES[name]
    paths = [folder / one for one in (files.test if part == "test" else files.training)]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        what = f"there is no folder {folder}"
        if folder.is_dir():
            what = f"{missing[0].relative_to(folder)} is missing in {folder}"
        raise DataError(
            f"The dataset {name!r} is not complete: {what}.",
            f"Name the folder it lies in with root, or get it with: "
            f"crumple data {name} --root {folder} --download",
            field="root",
        )
    return paths


def damaged(file: Path, reason: str) -> DataError:
    """The error for a file that cannot be what its name says."""
    return DataError(
        f"The file {file} cannot be used: {reason}.",
        "Delete it and download it again, or write it in the format of the dataset.",
    )
