"""Security curves: counting, their band, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from engine.statistics.intervals import wilson
from engine.statistics.security_curves import check_curve, distances, security_curve

LENGTHS = st.lists(st.one_of(st.floats(0, 2), st.just(math.inf)), min_size=1, max_size=40)
GRID = st.lists(st.floats(0, 2), min_size=1, max_size=10)


@given(found=LENGTHS, grid=GRID)
def test_the_curve_counts_images_beyond_each_radius(found: list[float], grid: list[float]) -> None:
    curve = security_curve(found, grid)
    counts = [sum(one > eps * (1 + 1e-6) for one in found) for eps in grid]
    assert curve.robust_accuracy == pytest.approx(np.array(counts) / len(found))
    low, high = wilson(counts, len(found))
    assert np.array_equal(curve.ci_low, low)
    assert np.array_equal(curve.ci_high, high)
    assert curve.eps.tolist() == grid
    assert curve.n == len(found)


@given(found=LENGTHS)
def test_from_clean_accuracy_down_to_what_was_never_broken(found: list[float]) -> None:
    curve = security_curve(found, [*np.linspace(0, 2, 30), math.inf])
    assert curve.robust_accuracy[0] == sum(one > 0 for one in found) / len(found)
    assert curve.robust_accuracy[-1] == sum(one == math.inf for one in found) / len(found)
    assert (np.diff(curve.robust_accuracy) <= 0).all()
    assert (curve.ci_low <= curve.robust_accuracy).all()
    assert (curve.robust_accuracy <= curve.ci_high).all()


def test_a_distance_of_eps_is_inside_even_if_float32_rounds_it_up() -> None:
    eps = 8 / 255
    rounded = float(np.nextafter(np.float32(eps), np.float32(1)))
    assert security_curve([rounded], [eps]).robust_accuracy.tolist() == [0.0]
    assert security_curve([eps * 1.001], [eps]).robust_accuracy.tolist() == [1.0]


def test_the_band_is_that_of_the_share_at_each_radius() -> None:
    curve = security_curve([0.1, 0.2, 0.3, math.inf], [0.15, 0.25])
    low, high = wilson([3, 2], 4)
    assert np.array_equal(curve.ci_low, low)
    assert np.array_equal(curve.ci_high, high)


@pytest.mark.parametrize(
    ("found", "grid"),
    [([], [0.1]), ([math.nan], [0.1]), ([-0.1], [0.1]), ([0.1], [-0.1]), ([0.1], [math.nan])],
)
def test_nonsense_is_refused(found: list[float], grid: list[float]) -> None:
    with pytest.raises(ValueError, match=r"distance"):
        security_curve(found, grid)


def test_distances_of_stored_images() -> None:
    rows = [
        {"broken": True, "l2": 0.0, "linf": 0.0},
        {"broken": True, "l2": 0.5, "linf": 0.1},
        {"broken": False, "l2": 0.7, "linf": 0.2},
    ]
    assert distances(rows, "L2").tolist() == [0.0, 0.5, math.inf]
    assert distances(rows, "Linf").tolist() == [0.0, 0.1, math.inf]


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60),
)
def test_a_check_is_the_one_sided_sign_test(outcomes: list[tuple[bool, bool]]) -> None:
    inside, broken = np.array(outcomes).T
    found = np.where(inside, 0.1, math.inf)
    verdict = check_curve(found, broken, 0.1)
    only_check, only_curve = int((broken & ~inside).sum()), int((inside & ~broken).sum())
    assert (verdict.only_check, verdict.only_curve) == (only_check, only_curve)
    assert verdict.curve == pytest.approx(1 - inside.mean())
    assert verdict.robust_accuracy == pytest.approx(1 - broken.mean())
    if only_check + only_curve:
        trial = binomtest(only_check, only_check + only_curve, 0.5, alternative="greater")
        assert verdict.p_value == pytest.approx(trial.pvalue)
    else:
        assert verdict.p_value == 1


def test_a_check_needs_the_same_images() -> None:
    with pytest.raises(ValueError, match="equal lengths"):
        check_curve([0.1, 0.2], [True], 0.1)
