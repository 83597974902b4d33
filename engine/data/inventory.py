"""What lies where of the published datasets, and whether it is what was published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.catalog.datasets import FILES

State = Literal["there", "published", "differs", "missing"]


@dataclass(frozen=True)
class FileState:
    """One file of a published dataset.

    Attributes:
        name: below the root.
        state: ``published`` if its checksum is known and right, ``differs`` if it is not right,
            ``there`` if no checksum is known.
    """

    name: str
    state: State


def inventory(name: str, root: Path) -> tuple[FileState, ...]:
    """Every file of a published dataset, checked against torchvision's checksums."""
    known = _checksums(name)
    files = FILES[name]
    return tuple(
        FileState(one, _state(root / one, known.get(Path(one).name)))
        for one in (*files.test, *files.training)
    )


def _state(file: Path, md5: str | None) -> State:
    from torchvision.datasets.utils import calculate_md5

    if not file.is_file():
        return "missing"
    if md5 is None:
        return "there"
    return "published" if calculate_md5(file) == md5 else "differs"


def _checksums(name: str) -> dict[str, str]:
    """By file name; of MNIST only those of the compressed files are published."""
    from torchvision.datasets import CIFAR10, CIFAR100, SVHN

    if name in ("cifar10", "cifar100"):
        cifar = CIFAR10 if name == "cifar10" else CIFAR100
        lists = [*cifar.train_list, *cifar.test_list, [cifar.meta["filename"], cifar.meta["md5"]]]
        return {str(file): str(md5) for file, md5 in lists}
    if name == "svhn":
        return {file: md5 for _, file, md5 in SVHN.split_list.values()}
    return {}
