"""Choosing the smallest elements agrees with a stable sort, ties and all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.compression.parts.mask import without_smallest


@pytest.mark.parametrize("shape", [(1,), (37,), (5, 4), (2, 3, 7)])
@pytest.mark.parametrize("levels", [1, 3, 1_000_000])
@pytest.mark.parametrize("unbounded", [False, True])
def test_what_goes_comes_first_in_a_stable_sort(
    shape: tuple[int, ...], levels: int, unbounded: bool
) -> None:
    draws = np.random.default_rng(0)
    for removed in range(shape[-1] + 1):
        sizes = draws.integers(0, levels, shape).astype(np.float32)
        if unbounded:  # what has to stay is marked so
            sizes[..., ::2] = np.inf
        expected = np.ones(shape, bool)
        first = np.argsort(sizes, axis=-1, kind="stable")[..., :removed]
        np.put_along_axis(expected, first, False, axis=-1)
        kept = without_smallest(torch.from_numpy(sizes), removed)
        np.testing.assert_array_equal(kept.numpy(), expected)


def test_sizes_that_are_trained_are_ranked_like_others() -> None:
    sizes = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    kept = without_smallest(sizes.abs(), 1)
    assert kept.tolist() == [True, False, True]
    assert not kept.requires_grad
