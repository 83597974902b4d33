"""Load the images of a dataset spec."""

from __future__ import annotations

import numpy as np
import torch

from engine.catalog import ModelCard
from engine.data import digits, folder, npz
from engine.data.image_set import ImageSet, stratified_order
from engine.data.source import Source
from engine.errors import DataError
from engine.specs import DatasetSpec


def load(spec: DatasetSpec, seed: int) -> ImageSet:
    """Load the test images of a dataset.

    The order is seeded and stratified: ``limit`` takes a prefix, so a smaller limit gives a
    subset of a larger one.

    Args:
        spec: which images, and how many.
        seed: of the order, normally the seed of the study.

    Raises:
        DataError: the data are missing, damaged, or fewer than ``limit``.
    """
    source = _open(spec)
    count = len(source.labels)
    if spec.limit is not None and spec.limit > count:
        raise DataError(
            f"limit is {spec.limit} but {spec.label!r} has only {count} test images.",
            f"Set limit to {count} or less, or leave it out to take all.",
        )
    chosen = stratified_order(source.labels, seed)[: spec.limit]
    return _image_set(source, chosen, spec.id, spec.label)


def training_images(dataset_id: str) -> ImageSet:
    """The training part of a dataset, in its own order.

    Raises:
        DataError: the dataset has no training part.
    """
    if dataset_id != "digits":
        raise DataError(
            f"The dataset {dataset_id!r} has no training images.", "Only 'digits' has some."
        )
    source = digits.training()
    return _image_set(source, np.arange(len(source.labels)), dataset_id, dataset_id)


def check_fits(image_set: ImageSet, card: ModelCard) -> None:
    """Refuse images that a model cannot take.

    Raises:
        DataError: the shape or the classes differ from those on the model card.
    """
    if image_set.shape != card.shape:
        have, want = ("x".join(map(str, shape)) for shape in (image_set.shape, card.shape))
        raise DataError(
            f"The images of {image_set.label!r} are {have} (channels x height x width) but the "
            f"model {card.id!r} takes {want}.",
            "Choose another model, or convert the pictures to that size and colour.",
        )
    count = len(image_set.class_names)
    # A folder numbers its classes by name, so a missing one would shift all labels after it.
    if count > card.classes or (image_set.id == "folder" and count != card.classes):
        raise DataError(
            f"{image_set.label!r} has {count} classes but the model {card.id!r} knows "
            f"{card.classes}.",
            "Choose a model that was trained on these classes.",
        )


def _open(spec: DatasetSpec) -> Source:
    if spec.folder:
        return folder.open_folder(spec.folder)
    if spec.npz:
        return npz.open_npz(spec.npz)
    return digits.test()


def _image_set(source: Source, chosen: np.ndarray, id_: str, label: str) -> ImageSet:
    return ImageSet(
        images=torch.from_numpy(np.ascontiguousarray(source.read(chosen), dtype=np.float32)),
        labels=torch.from_numpy(source.labels[chosen]),
        indices=torch.from_numpy(np.ascontiguousarray(chosen, dtype=np.int64)),
        class_names=source.class_names,
        id=id_,
        label=label,
    )
