"""Intervals and tests against scipy, brute force and their defining properties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from engine.statistics.intervals import (
    mcnemar_exact,
    mcnemar_greater,
    paired_difference,
    paired_interval,
    wilson,
)


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
    result = paired_difference(broken_a, broken_b)
    assert (result.difference, result.only_a, result.only_b, result.n) == (0.5, 0, 2, 4)
    mirrored = paired_difference(broken_b, broken_a)
    assert mirrored.difference == -0.5
    assert mirrored.p_value == result.p_value == mcnemar_exact(0, 2)


def constrained_score(only_a: int, only_b: int, n: int, difference: float) -> float:
    """Tango's statistic by its definition: the likelihood is maximised by search."""

    def against(share: float) -> float:  # share: of pairs that count against A alone
        cells = (share, share + difference, 1 - 2 * share - difference)
        counts = (only_a, only_b, n - only_a - only_b)
        if min(cells) < 0:
            return np.inf
        return -sum(k * np.log(max(p, 1e-300)) for k, p in zip(counts, cells, strict=True) if k)

    ends = max(0.0, -difference), (1 - difference) / 2
    share = minimize_scalar(against, bounds=ends, method="bounded", options={"xatol": 1e-12}).x
    share = min((share, *ends), key=against)
    variance = n * (2 * share + difference - difference**2)
    return float((only_b - only_a - n * difference) / np.sqrt(variance))


@pytest.mark.parametrize(
    ("only_a", "only_b", "n"), [(0, 3, 20), (1, 7, 60), (12, 2, 50), (5, 5, 40), (30, 1, 100)]
)
def test_the_ends_of_the_interval_are_where_the_score_test_turns(
    only_a: int, only_b: int, n: int
) -> None:
    for end, z in zip(paired_interval(only_a, only_b, n), (1.959964, -1.959964), strict=True):
        assert constrained_score(only_a, only_b, n, end) == pytest.approx(z, abs=2e-3)


@pytest.mark.parametrize("n", [1, 10, 60, 500])
def test_no_pair_that_differs_is_no_proof_of_no_difference(n: int) -> None:
    edge = 1.959964**2 / (n + 1.959964**2)  # Tango's interval in closed form
    assert paired_interval(0, 0, n) == pytest.approx((-edge, edge), abs=1e-6)
    result = paired_difference(np.zeros(n, bool), np.zeros(n, bool))
    assert (result.difference, result.p_value) == (0, 1)
    assert result.low < 0 < result.high


@given(st.integers(1, 300), st.data())
def test_the_interval_holds_the_difference_and_turns_with_the_runs(
    n: int, data: st.DataObject
) -> None:
    only_a = data.draw(st.integers(0, n))
    only_b = data.draw(st.integers(0, n - only_a))
    low, high = paired_interval(only_a, only_b, n)
    assert -1 <= low <= (only_b - only_a) / n <= high <= 1
    assert low < high
    assert paired_interval(only_b, only_a, n) == pytest.approx((-high, -low), abs=1e-12)


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    for only_a, only_b, n in ((0.0, 0.02, 60), (0.05, 0.15, 60), (0.1, 0.1, 200)):
        counts = rng.multinomial(n, [only_a, only_b, 1 - only_a - only_b], size=2000)
        cells, times = np.unique(counts[:, :2], axis=0, return_counts=True)
        held = [
            low <= only_b - only_a <= high
            for low, high in (paired_interval(int(a), int(b), n) for a, b in cells)
        ]
        assert 0.93 < np.average(held, weights=times) <= 1


@pytest.mark.parametrize(("a", "b"), [([True], [True, False]), ([], []), ([[True]], [[True]])])
def test_unpaired_runs_are_refused(a: list[bool], b: list[bool]) -> None:
    with pytest.raises(ValueError, match="paired runs"):
        paired_difference(a, b)
