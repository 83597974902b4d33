"""Which images a study looks at; torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from engine import catalog
from engine.catalog.datasets import ROOTED
from engine.catalog.strict import Strict
from engine.host import paths
from engine.safe_files.pictures import Cut

CUT = ("folder", "imagenet")
"""The datasets whose pictures may be brought to one size."""

MOST_IMAGES = 10**9

_IMAGENET = Cut(256, 224)


class Spec(Strict):
    """Base of all specs: frozen, strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)


class DatasetSpec(Spec):
    """Which images: a catalogue id, or a folder, or an npz file; and how many.

    ``root`` is the folder that holds a published dataset, None the usual one. ``limit`` takes a
    stratified, seeded subset of the test images and ``train_limit`` one of the training images;
    None means all. ``resize`` and ``crop`` are the shorter side and the square cut from the
    middle, in pixels: of imagenet 256 and 224 if not given; a folder of which neither is given
    holds pictures of one size, and one of the two stands for both.
    """

    name: str = ""
    folder: str | None = None
    npz: str | None = None
    root: str | None = Field(None, min_length=1)
    limit: int | None = Field(None, ge=1, le=MOST_IMAGES)
    train_limit: int | None = Field(None, ge=1, le=MOST_IMAGES)
    resize: int | None = Field(None, ge=1, le=4096)
    crop: int | None = Field(None, ge=1, le=4096)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in ("folder", "npz") if getattr(self, key)]
        name = self.name if self.name not in ("folder", "npz") else ""
        if len(given) + bool(name) != 1:
            raise ValueError("needs exactly one of: name, folder, npz")
        if name:
            catalog.find("datasets", name)
        return self

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        if self.root is not None and self.id not in ROOTED:
            raise ValueError(f"takes root only with the name {', '.join(ROOTED)}")
        for key in ("resize", "crop"):
            if getattr(self, key) is not None and self.id not in CUT:
                raise ValueError(f"takes {key} only with the name imagenet or a folder")
        if self.cut is not None and self.cut.crop > self.cut.resize:
            raise ValueError(
                f"cannot crop {self.cut.crop} from pictures resized to {self.cut.resize}"
            )
        return self

    @property
    def id(self) -> str:
        """The catalogue id."""
        return "folder" if self.folder else "npz" if self.npz else self.name

    @property
    def label(self) -> str:
        """A short name for tables; of a dataset from outside with its origin."""
        known = catalog.section("datasets").get(self.id)
        if known and known.origin:
            return f"{self.name} [{known.origin.label}]"
        return Path(self.folder or self.npz or self.name).name

    @property
    def place(self) -> str:
        """The root of a published dataset, as written or the usual one."""
        return self.root or str(usual_root(self.name))

    @property
    def cut(self) -> Cut | None:
        """How pictures are brought to one size; None if they stay as they are."""
        if self.id == "imagenet":
            return Cut(self.resize or _IMAGENET.resize, self.crop or _IMAGENET.crop)
        given = self.resize or self.crop
        return Cut(given, self.crop or given) if given else None


def usual_root(name: str) -> Path:
    """Where a published dataset is looked for if a study does not say."""
    return paths.datasets() / name if name == "imagenet" else paths.datasets()
