"""Which images a compression step may learn from."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from engine import catalog
from engine.catalog import ModelCard
from engine.data.image_set import ImageSet
from engine.data.loading import misfit, training_part
from engine.errors import DataError
from engine.specs.choices import Recipe
from engine.specs.dataset import DatasetSpec

_OWN = ("folder", "npz")
"""Ids that say on a model card only that the data were somebody's own, not where they lie."""


def training_images(dataset: DatasetSpec | str) -> ImageSet:
    """The training part of a dataset, given as a spec or as an id.

    Raises:
        DataError: the dataset has no training part, or it is missing or damaged.
    """
    spec = _named(dataset) if isinstance(dataset, str) else dataset
    found = training_part(spec)
    if found is None:
        raise DataError(
            f"The dataset {spec.label!r} has no training images.",
            "A folder has them in train/ beside test/, an archive in x_train and y_train.",
        )
    return found


def training_for(dataset: DatasetSpec, card: ModelCard) -> ImageSet | None:
    """What a step learns from when a model is compressed in a study of a dataset.

    The training part of that dataset if it has one that fits the model; else that of the
    dataset on the model's card; None if there is neither. The last answer is remembered until
    ``forget_training``.

    Raises:
        DataError: training images are missing, damaged or too many for memory.
    """
    return _found(dataset, card.model_dump_json())


def further_images(archive: str, training: ImageSet) -> ImageSet:
    """Further training images with labels of people or of a model, from a NumPy archive.

    The last archive is remembered until it changes, or ``forget_training``.

    Args:
        archive: its path; ``x_train`` and ``y_train`` are taken.
        training: the images that they join.

    Raises:
        DataError: they are missing, damaged, or of another shape or other classes.
    """
    _fitting(archive, training)
    return _archive(*_state(archive))


def _fitting(archive: str, training: ImageSet) -> _Known:
    """What is known of an archive that fits training images.

    Raises:
        DataError: it is missing, damaged, or of another shape or other classes.
    """
    found = _known(*_state(archive))
    if found.shape != training.shape:
        have, want = ("x".join(map(str, one.shape)) for one in (found, training))
        raise DataError(
            f"second_stream: the images of {found.label!r} are {have} (channels x height x "
            f"width), but the training images that they join are {want}.",
            "Convert them to that size and colour.",
        )
    classes = len(training.class_names)
    if found.highest >= classes:
        raise DataError(
            f"second_stream: the labels of {found.label!r} go up to {found.highest}, but the "
            f"training images that they join are of {classes} classes, numbered from 0.",
            "Leave out the images of other classes.",
        )
    return found


def looks_at_test_images(recipe: Recipe) -> bool:
    """Whether a step chooses its epoch on test images."""
    return any(step.settings.chooses_on_test_images() for step in recipe)


def lesson(training: ImageSet | None, recipe: Recipe, test: ImageSet | None = None) -> str:
    """What the training of a recipe depends on: its images and what steps add to them.

    Args:
        training: its training images.
        recipe: the steps.
        test: the images that are attacked later; they count where a step looks at them.

    Raises:
        DataError: what a step adds is missing, damaged, or does not fit.
    """
    if training is None:
        return ""
    paths = [path for step in recipe if (path := step.settings.further_archive())]
    parts = [training.lesson, *(_fitting(path, training).fingerprint for path in paths)]
    if test is not None and looks_at_test_images(recipe):
        parts.append(f"test {test.fingerprint}")
    return " ".join(parts)


def forget_training() -> None:
    """Read the files again the next time: they may have changed."""
    _found.cache_clear()
    _archive.cache_clear()
    _known.cache_clear()


class _Known(NamedTuple):
    """What is remembered of an archive without its pixels, of which only one has room.

    Attributes:
        highest: of the labels.
    """

    label: str
    shape: tuple[int, int, int]
    highest: int
    fingerprint: str


def _state(path: str) -> tuple[str, int, int]:
    """A path, and time and size, which tell whether the file there has changed."""
    try:
        found = Path(path).expanduser().stat()
    except (OSError, ValueError, RuntimeError):  # what is wrong is said where it is read
        return path, 0, 0
    return path, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=64)
def _known(path: str, time: int, size: int) -> _Known:
    images = _archive(path, time, size)
    return _Known(images.label, images.shape, int(images.labels.max()), images.fingerprint)


@lru_cache(maxsize=1)
def _archive(path: str, time: int, size: int) -> ImageSet:
    del time, size  # another file at the same place
    return training_images(DatasetSpec(npz=path))


@lru_cache(maxsize=1)
def _found(dataset: DatasetSpec, card_json: str) -> ImageSet | None:
    card = ModelCard.model_validate_json(card_json)  # as text, because a card has no hash
    own = training_part(dataset)
    if own is not None and misfit(own, card) is None:
        return own
    if card.dataset not in catalog.section("datasets") or card.dataset in _OWN:
        return None
    same = card.dataset == dataset.id
    found = own if same else training_part(_named(card.dataset, dataset.train_limit))
    return found if found is not None and misfit(found, card) is None else None


def _named(dataset_id: str, train_limit: int | None = None) -> DatasetSpec:
    return DatasetSpec.model_validate({"name": dataset_id, "train_limit": train_limit})
