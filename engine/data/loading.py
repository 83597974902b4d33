"""Load the images of a dataset spec."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from engine import catalog
from engine.catalog import ModelCard
from engine.data import cifar, digits, folder, imagenet, mnist, npz, svhn
from engine.data.image_set import ByteImages, Images, ImageSet, Labels, stratified_order
from engine.data.outside import open_outside
from engine.data.source import MOST_BYTES, Pixels, Source, Split
from engine.errors import DataError
from engine.safe_files.pictures import Cut
from engine.specs.dataset import DatasetSpec

_TRAINING_SEED = 0
"""Of the order of training images: the same for all seeds, so that what is held out is, too."""


def load(spec: DatasetSpec, seed: int) -> ImageSet:
    """Load the test images of a dataset.

    The order is seeded and stratified: ``limit`` takes a prefix, so a smaller limit gives a
    subset of a larger one.

    Args:
        spec: which images, and how many.
        seed: of the order, normally the seed of the study.

    Raises:
        DataError: the data are missing, damaged, fewer than ``limit`` or too many for memory.
    """
    source = open_part(spec, "test")
    if source is None:
        raise DataError(f"The dataset {spec.label!r} has no test images.", "Choose another.")
    order = stratified_order(source.labels, seed)
    chosen = _limited(order, spec.limit, "limit", f"{spec.label!r} has only", "test images")
    _check_memory(source, len(chosen), 4, "limit")
    return _image_set(source, chosen, spec, _floats(source.read(chosen)))


def training_part(spec: DatasetSpec) -> ImageSet | None:
    """The training part of a dataset, None if it has none.

    The order is stratified and the same for every study; ``train_limit`` takes a prefix.

    Raises:
        DataError: as for ``load``.
    """
    source = open_part(spec, "training")
    if source is None:
        return None
    count = len(source.labels)
    order = (
        np.arange(count, dtype=np.int64)
        if source.mixed
        else stratified_order(source.labels, _TRAINING_SEED)
    )
    have = f"{spec.label!r} has only"
    chosen = _limited(order, spec.train_limit, "train_limit", have, "training images")
    _check_memory(source, len(chosen), 1, "train_limit")
    pixels = source.read(chosen)
    images: Images = (
        ByteImages(torch.from_numpy(np.ascontiguousarray(pixels)))
        if pixels.dtype == np.uint8
        else _floats(pixels)
    )
    return _image_set(source, chosen, spec, images)


def misfit(image_set: ImageSet, card: ModelCard) -> DataError | None:
    """Why a model cannot take these images, None if it can."""
    if image_set.shape != card.shape:
        have, want = ("x".join(map(str, shape)) for shape in (image_set.shape, card.shape))
        return DataError(
            f"The images of {image_set.label!r} are {have} (channels x height x width) but the "
            f"model {card.id!r} takes {want}.",
            _converted(image_set, card),
        )
    count = len(image_set.class_names)
    # An archive may lack the highest classes. All others know how many there are; a folder
    # numbers its classes by name, so a missing one would shift all labels after it.
    if count > card.classes or (image_set.id != "npz" and count != card.classes):
        return DataError(
            f"{image_set.label!r} has {count} classes but the model {card.id!r} knows "
            f"{card.classes}.",
            "Choose a model that was trained on these classes.",
        )
    return None


def _converted(image_set: ImageSet, card: ModelCard) -> str:
    """What to do where the shape of the images differs from what a model takes."""
    channels, height, width = card.shape
    if image_set.id == "folder" and image_set.shape[0] == channels and height == width:
        return f"Bring the pictures to that size with resize = {height} and crop = {width}."
    return "Choose another model, or convert the pictures to that size and colour."


def check_fits(image_set: ImageSet, card: ModelCard) -> None:
    """Refuse images that a model cannot take.

    Raises:
        DataError: the shape or the classes differ from those on the model card.
    """
    error = misfit(image_set, card)
    if error is not None:
        raise error


_OPENERS: dict[str, Callable[[DatasetSpec, Split], Source | None]] = {
    "digits": lambda spec, part: digits.test() if part == "test" else digits.training(),
    "cifar10": lambda spec, part: cifar.open_cifar("cifar10", spec.place, part),
    "cifar100": lambda spec, part: cifar.open_cifar("cifar100", spec.place, part),
    "svhn": lambda spec, part: svhn.open_svhn(spec.place, part),
    "mnist": lambda spec, part: mnist.open_mnist(spec.place, part),
    "imagenet": lambda spec, part: imagenet.open_imagenet(spec.place, part, _cut(spec)),
    "folder": lambda spec, part: folder.open_folder(spec.folder or "", part, spec.cut),
    "npz": lambda spec, part: npz.open_npz(spec.npz or "", part),
}
"""The built-in datasets, by id."""


def _cut(spec: DatasetSpec) -> Cut:
    assert spec.cut is not None
    return spec.cut


def open_part(spec: DatasetSpec, part: Split) -> Source | None:
    """A part of a dataset before selection, built in or from outside; None if it has none.

    Raises:
        DataError: the data are missing or damaged.
    """
    entry = catalog.built_in("datasets").get(spec.id)
    if entry is None:
        return open_outside(spec, part)
    return _OPENERS[spec.id](spec, part)


def _limited(order: Labels, limit: int | None, key: str, have: str, what: str) -> Labels:
    count = len(order)
    if limit is not None and limit > count:
        raise DataError(
            f"{key} is {limit} but {have} {count} {what}.",
            f"Set {key} to {count} or less, or leave it out to take all.",
        )
    return order[:limit]


def _check_memory(source: Source, count: int, bytes_each: int, key: str) -> None:
    one = int(np.prod(source.shape)) * bytes_each
    if count * one > MOST_BYTES:
        raise DataError(
            f"{count:,} images take {count * one / 2**30:.1f} GiB of memory, but at most "
            f"{MOST_BYTES / 2**30:.0f} are used.",
            f"Set {key} to {MOST_BYTES // one:,} or less.",
        )


def _floats(pixels: Pixels) -> torch.Tensor:
    whole = np.ascontiguousarray(pixels, dtype=np.float32)
    if pixels.dtype == np.uint8:
        whole /= np.float32(255)
    return torch.from_numpy(whole)


def _image_set(source: Source, chosen: Labels, spec: DatasetSpec, images: Images) -> ImageSet:
    return ImageSet(
        images=images,
        labels=torch.from_numpy(source.labels[chosen]),
        indices=torch.from_numpy(np.ascontiguousarray(chosen, dtype=np.int64)),
        class_names=source.class_names,
        id=spec.id,
        label=spec.label,
    )
