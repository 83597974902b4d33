"""The images that the doctor measures downloaded weights on, and what is missing; no widgets."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.catalog.datasets import FILES
from engine.catalog.models.published import PublishedWeights
from engine.specs.dataset import DatasetSpec

MOST = 2000
"""Images that the doctor measures on, unless the study says how many: without a GPU, all of
ImageNet would take hours."""

_KEYS = ("name", "root", "folder", "npz", "resize", "crop", "limit")


def measured_on(weights: PublishedWeights, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset table: the chosen images, or with none those that the weights were made for."""
    table = {key: chosen[key] for key in _KEYS if key in chosen} or weights.images()
    return {"limit": MOST, **table} if _many(table) else table


def _many(table: Mapping[str, Any]) -> bool:
    """Whether there are surely more images than are measured on."""
    spec = DatasetSpec.model_validate(dict(table))
    if spec.id != "imagenet":
        return spec.id in FILES
    pictures = (Path(spec.place).expanduser() / "val").glob("*/*")  # perhaps a part of them
    return sum(1 for _ in itertools.islice(pictures, MOST)) == MOST


def missing_images(table: Mapping[str, Any]) -> str:
    """What to do if the images of a valid dataset table are not there; else empty."""
    spec = DatasetSpec.model_validate(dict(table))
    if spec.folder or spec.npz:
        place = Path(spec.folder or spec.npz or "").expanduser()
        return "" if place.exists() else f"There is no {place}: choose your images again."
    if spec.id in FILES:
        root = Path(spec.place).expanduser()
        if all((root / file).is_file() for file in FILES[spec.id].test):
            return ""
        return (
            f"On import its clean accuracy is measured, but the images of {spec.id} are not there: "
            f"choose the dataset {spec.id} under Study and data, press Download there, and add "
            "the model then."
        )
    if spec.id == "imagenet" and not Path(spec.place).expanduser().is_dir():
        return (
            "On import its clean accuracy is measured, but the pictures of ImageNet are not there: "
            "fetch them from image-net.org, choose the dataset imagenet and the folder that holds "
            "val/ under Study and data, and add the model then."
        )
    return ""
