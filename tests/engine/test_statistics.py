"""Intervals and tests against scipy, brute force and their defining properties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from engine.statistics import mcnemar_exact, mcnemar_greater, paired_difference, wilson


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 50), (1, 50), (25, 50), (316, 500)])
def test_wilson_agrees_with_scipy(k: int, n: int, confidence: float) -> None:
    expected = binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert wilson(k, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(0, 5000), st.data())
def test_wilson_holds_the_share_and_stays_inside_01(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    low, high = wilson(k, n)
    assert 0 <= low <= (k / n if n else 0.5) <= high <= 1
    mirrored = wilson(n - k, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-12)


def test_wilson_ends_are_exact_when_nothing_or_everything_breaks() -> None:
    ns = np.arange(1, 2000)
    assert np.all(wilson(0, ns)[0] == 0)
    assert np.all(wilson(ns, ns)[1] == 1)


def test_wilson_works_on_arrays_like_on_scalars() -> None:
    k, n = np.array([[0, 3], [7, 9]]), np.array([10, 9])
    low, high = wilson(k, n)
    assert low.shape == high.shape == (2, 2)
    for row, column in itertools.product(range(2), repeat=2):
        single = wilson(int(k[row, column]), int(n[column]))
        assert (low[row, column], high[row, column]) == single


@pytest.mark.parametrize(("k", "n", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0)])
def test_wilson_refuses_the_impossible(k: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and"):
        wilson(k, n, confidence)


@pytest.mark.parametrize(
    ("a", "b"), [(0, 0), (0, 1), (1, 0), (0, 6), (5, 5), (3, 12), (40, 61), (700, 800)]
)
def test_mcnemar_agrees_with_the_binomial_test(a: int, b: int) -> None:
    expected = binomtest(a, a + b, 0.5).pvalue if a + b else 1.0
    assert mcnemar_exact(a, b) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_exact(a, b) == mcnemar_exact(b, a)


def test_mcnemar_stands_thousands_of_pairs() -> None:
    assert 0 <= mcnemar_exact(0, 3000) < 1e-300
    assert mcnemar_exact(5000, 5000) == 1
    assert 0 <= mcnemar_greater(3000, 0) < 1e-300
    assert 0.5 < mcnemar_greater(5000, 5000) < 0.51


def test_paired_difference_has_the_sign_of_the_better_run() -> None:
    broken_a = np.array([True, False, False, False])
    broken_b = np.array([True, True, True, False])
    result = paired_difference(broken_a, broken_b, seed=0)
    assert (result.difference, result.only_a, result.only_b, result.n) == (0.5, 0, 2, 4)
    mirrored = paired_difference(broken_b, broken_a, seed=0)
    assert mirrored.difference == -0.5
    assert mirrored.p_value == result.p_value == mcnemar_exact(0, 2)


def test_bootstrap_interval_agrees_with_resampling_images() -> None:
    rng = np.random.default_rng(1)
    broken_a = rng.random(300) < 0.4
    broken_b = np.where(rng.random(300) < 0.8, broken_a, rng.random(300) < 0.7)
    result = paired_difference(broken_a, broken_b, seed=0)
    difference = broken_b.astype(float) - broken_a
    expected = bootstrap((difference,), np.mean, method="percentile", rng=2).confidence_interval
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert result.difference == pytest.approx(difference.mean())


def test_paired_difference_is_seeded_and_leaves_the_global_generator_alone() -> None:
    broken_a, broken_b = np.arange(60) % 3 == 0, np.arange(60) % 4 == 0
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    first = paired_difference(broken_a, broken_b, seed=7)
    assert first == paired_difference(broken_a, broken_b, seed=7)
    assert first != paired_difference(broken_a, broken_b, seed=8)
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]


def test_equal_runs_do_not_differ() -> None:
    result = paired_difference([True, False], [True, False], seed=0)
    assert (result.difference, result.low, result.high, result.p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize(("a", "b"), [([True], [True, False]), ([], []), ([[True]], [[True]])])
def test_unpaired_runs_are_refused(a: list[bool], b: list[bool]) -> None:
    with pytest.raises(ValueError, match="paired runs"):
        paired_difference(a, b, seed=0)
