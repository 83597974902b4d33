"""Published weights that can be downloaded into the library; free of torch.

All numbers are those of the packages: ``resources/weights/PACKAGE.json`` is written by
``packaging/published_weights.py``. What a package does not state is None or empty here.
"""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from engine.host import paths

PACKAGES = ("torchvision", "timm", "robustbench")

_CLASSES = {"imagenet": 1000, "cifar10": 10, "cifar100": 100}


@dataclass(frozen=True)
class RobustAccuracy:
    """What a package states of robust accuracy.

    Attributes:
        accuracy: share of the test images.
        norm: of the threat model, ``Linf`` or ``L2``.
        eps: its radius in pixels of [0,1], as written: ``8/255``.
        evaluation: what measured it.
    """

    accuracy: float
    norm: str
    eps: str
    evaluation: str


@dataclass(frozen=True)
class PublishedWeights:
    """Weights of another package.

    Attributes:
        name: as ``crumple import`` takes it: ``torchvision.resnet50``,
            ``robustbench.Linf.Wong2020Fast``.
        dataset: what it was trained for; the same name may stand for weights of several.
        crop: side of the square images that it was measured on, in pixels.
        parameters: their number.
        resize: shorter side of a picture before it is cropped; None where none is.
        size_bytes: of the download.
        clean_accuracy: share of the test images.
        robust: the same under attack.
        stated_by: who states the accuracies, and of what.
        licence: of the weights, as a SPDX id where there is one.
        source: address or arXiv id of the paper, or of how it was trained.
    """

    name: str
    dataset: str
    crop: int
    parameters: int
    resize: int | None = None
    size_bytes: int | None = None
    clean_accuracy: float | None = None
    robust: RobustAccuracy | None = None
    stated_by: str = ""
    licence: str = ""
    source: str = ""

    @property
    def package(self) -> str:
        """The package that has it."""
        return self.name.partition(".")[0]

    @property
    def key(self) -> str:
        """Tells all of them apart."""
        return f"{self.name} {self.dataset}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that it was measured on."""
        return 3, self.crop, self.crop

    @property
    def classes(self) -> int:
        """Number of classes."""
        return _CLASSES[self.dataset]

    def images(self) -> dict[str, Any]:
        """The images to measure it on, as a study file names them."""
        cut = {} if self.resize is None else {"resize": self.resize, "crop": self.crop}
        return {"name": self.dataset, **cut}

    def missing(self) -> str:
        """How to install the package that has it; empty if it is there."""
        return "" if _there(self.package) else f"pip install 'crumple[{self.package}]'"


def _there(package: str) -> bool:
    """Whether a package is installed itself: torchattacks brings an old copy of RobustBench."""
    if package == "torchvision":
        return True
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@cache
def published() -> tuple[PublishedWeights, ...]:
    """All of them, by package and name."""
    return tuple(one for package in PACKAGES for one in _of(package))


def _of(package: str) -> tuple[PublishedWeights, ...]:
    file = paths.resources() / "weights" / f"{package}.json"
    table = json.loads(file.read_text("utf-8"))
    rows = []
    for row in table["weights"]:
        robust = row.pop("robust", None)
        if robust is not None:
            robust = RobustAccuracy(**robust, evaluation=table["evaluation"])
        stated_by = table["stated_by"] if "clean_accuracy" in row else ""
        rows.append(PublishedWeights(**row, robust=robust, stated_by=stated_by))
    return tuple(rows)


def find(name: str, classes: int) -> PublishedWeights | None:
    """The weights of this name that tell so many classes apart."""
    return _by_name().get((name, classes))


@cache
def _by_name() -> dict[tuple[str, int], PublishedWeights]:
    return {(one.name, one.classes): one for one in published()}
