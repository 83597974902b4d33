"""Which images a study looks at; torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine import catalog, paths
from engine.catalog.datasets import ROOTED


class Spec(BaseModel):
    """Base of all specs: frozen, strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class DatasetSpec(Spec):
    """Which images: a catalogue id, or a folder, or an npz file; and how many.

    ``root`` is the folder that holds a published dataset, None the usual one. ``limit`` takes a
    stratified, seeded subset of the test images and ``train_limit`` one of the training images;
    None means all. ``resize`` and ``crop`` are for imagenet: the shorter side and the square
    cut from the middle, in pixels.
    """

    name: str = ""
    folder: str | None = None
    npz: str | None = None
    root: str | None = Field(None, min_length=1)
    limit: int | None = Field(None, ge=1)
    train_limit: int | None = Field(None, ge=1)
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
            if getattr(self, key) is not None and self.id != "imagenet":
                raise ValueError(f"takes {key} only with the name imagenet")
        if self.id == "imagenet" and self.crop_size > self.resize_size:
            raise ValueError(
                f"cannot crop {self.crop_size} from pictures resized to {self.resize_size}"
            )
        return self

    @property
    def id(self) -> str:
        """The catalogue id."""
        return "folder" if self.folder else "npz" if self.npz else self.name

    @property
    def label(self) -> str:
        """A short name for tables."""
        return Path(self.folder or self.npz or self.name).name

    @property
    def place(self) -> str:
        """The root of a published dataset, as written or the usual one."""
        return self.root or str(usual_root(self.name))

    @property
    def resize_size(self) -> int:
        """The shorter side of an ImageNet picture before it is cropped."""
        return self.resize or 256

    @property
    def crop_size(self) -> int:
        """The side of an ImageNet picture."""
        return self.crop or 224


def usual_root(name: str) -> Path:
    """Where a published dataset is looked for if a study does not say."""
    return paths.datasets() / name if name == "imagenet" else paths.datasets()
