"""The rules of datasets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from engine.contracts.rule import Rule
from engine.data import ImageSet, load
from engine.data.loading import open_part, training_part
from engine.specs.dataset import DatasetSpec

_SOME = 64


class DatasetRules:
    """Tries the rules on one dataset of the catalogue."""

    def __init__(self, id_: str) -> None:
        self._spec = DatasetSpec(name=id_)

    def rules(self) -> Iterator[Rule]:
        """All that can be asked of it."""
        yield "test images lie in [0, 1], labels in range", lambda: _sound(load(self._spec, 0))
        yield "training images lie in [0, 1], labels in range", self._training
        yield "comes in a seeded order", self._seeded
        yield "gives an image the same whatever it is read with", self._read_alone

    def _training(self) -> str:
        found = training_part(self._spec)
        return "" if found is None else _sound(found)

    def _seeded(self) -> str:
        first, again, other = (load(self._spec, seed) for seed in (0, 0, 1))
        if first.fingerprint != again.fingerprint:
            return "loaded twice with one seed, images differ"
        if torch.equal(first.indices.sort().values, other.indices.sort().values):
            same = [_by_index(one) for one in (first, other)]
            return "" if torch.equal(*same) else "with another seed the images themselves differ"
        return "with another seed other images come"

    def _read_alone(self) -> str:
        source = open_part(self._spec, "test")
        if source is None:
            return "there are no test images"
        places = np.arange(min(_SOME, len(source.labels)), dtype=np.int64)
        together = source.read(places)
        for place in (places[0], places[len(places) // 2], places[-1]):
            if not np.array_equal(source.read(np.array([place])), together[place : place + 1]):
                return f"image {place} read alone is another than among others"
        return ""


def _sound(images: ImageSet) -> str:
    pixels = images.images[:]
    if not len(images):
        return "there are none"
    assert isinstance(pixels, Tensor)
    low, high = float(pixels.min()), float(pixels.max())
    if low == high:
        return f"every pixel is {low:.3g}"
    missing = sorted(set(range(len(images.class_names))) - set(images.labels.tolist()))
    return f"no image is of the classes {missing[:5]}" if missing else ""


def _by_index(images: ImageSet) -> Tensor:
    pixels = images.images[images.indices.argsort()]
    assert isinstance(pixels, Tensor)
    return pixels
