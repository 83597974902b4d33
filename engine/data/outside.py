"""Datasets from outside: what their code gives is looked over before anything uses it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from engine.data.image_set import Labels
from engine.data.source import Pixels, Source, Split, check_labels
from engine.errors import CrumpleError, DataError
from engine.extensions import DatasetMethod
from engine.extensions.loading import of_provider
from engine.specs.dataset import DatasetSpec


def open_outside(spec: DatasetSpec, part: Split) -> Source | None:
    """A part of a dataset that a user's file or a package brings; None if it has none.

    Raises:
        DataError: its code fails, or gives no images in [0, 1] with labels from 0.
        SpecError: the code is not here, or cannot be loaded.
    """
    method = of_provider("datasets", spec.id)
    assert isinstance(method, DatasetMethod)
    return opened(method, spec, part)


def opened(method: DatasetMethod, spec: DatasetSpec, part: Split) -> Source | None:
    """The same of a method that is at hand."""
    where = f"The {part} part of {spec.label!r}"
    source = _called(where, method.open, spec, part)
    if source is None:
        return None
    if not isinstance(source, Source):
        raise DataError(f"{where} is {type(source).__name__} but must be a Source.")
    names, shape = tuple(source.class_names), tuple(source.shape)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{where} must name its classes.")
    if len(shape) != 3 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise DataError(f"{where} has images of shape {shape}, which must be (C, H, W).")
    labels = np.asarray(source.labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{where} has labels of {labels.dtype}, which must be integers.")
    checked = check_labels(labels.astype(np.int64), len(names), where)

    def read(places: Labels) -> Pixels:
        return _checked(_called(where, source.read, places), (len(places), *shape), where)

    return replace(source, labels=checked, class_names=names, shape=shape, read=read)


def _called(where: str, function: Any, *given: Any) -> Any:
    try:
        return function(*given)
    except CrumpleError:
        raise
    except Exception as error:
        raise DataError(f"{where} cannot be read: {type(error).__name__}: {error}.") from error


def _checked(found: object, shape: tuple[int, ...], where: str) -> Pixels:
    pixels = np.asarray(found)
    if pixels.shape != shape:
        raise DataError(f"{where} gives pixels of shape {pixels.shape} where {shape} is asked.")
    if pixels.dtype == np.uint8:
        return pixels
    if not np.issubdtype(pixels.dtype, np.floating):
        raise DataError(f"{where} gives pixels of {pixels.dtype}, which must be uint8 or floats.")
    if pixels.size and not (pixels.min() >= 0 and pixels.max() <= 1):
        low, high = float(pixels.min()), float(pixels.max())
        raise DataError(
            f"{where} has pixels in [{low:.4g}, {high:.4g}], which must be finite and in [0, 1]."
        )
    return pixels
