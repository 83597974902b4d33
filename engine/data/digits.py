"""The handwritten digits that come with scikit-learn, 8x8, grey, in [0,1]."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from engine.data.image_set import Labels, stratified_order
from engine.data.source import Source

TEST_IMAGES = 500
_SPLIT_SEED = 1998  # part of the dataset: changing it makes every published number another one


def test() -> Source:
    """The 500 test images."""
    return _source(_split()[:TEST_IMAGES])


def training() -> Source:
    """The 1,297 training images."""
    return _source(_split()[TEST_IMAGES:])


@cache
def _all() -> tuple[npt.NDArray[np.float32], Labels]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = (bunch.images / 16.0).astype(np.float32)[:, None]
    return pixels, bunch.target.astype(np.int64)


def _split() -> Labels:
    return stratified_order(_all()[1], _SPLIT_SEED)


def _source(rows: Labels) -> Source:
    pixels, labels = _all()
    names = tuple(str(digit) for digit in range(10))
    return Source(labels[rows], names, (1, 8, 8), lambda chosen: pixels[rows[chosen]], mixed=True)
