"""Repeats: their spread, and what of it is training and what is attack."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from engine.statistics.repeats import Components, components, spread


def test_the_spread_is_that_of_another_library() -> None:
    values = [0.41, 0.44, 0.39, 0.47]
    found = spread(values)
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.deviation == pytest.approx(statistics.stdev(values))
    assert found.variance == pytest.approx(statistics.variance(values))
    assert (found.count, found.low, found.high) == (4, 0.39, 0.47)


def test_one_value_has_no_spread() -> None:
    found = spread([0.5])
    assert (found.mean, found.deviation, found.variance) == (0.5, None, None)


def _restricted_likelihood(groups: NDArray[np.float64]) -> tuple[float, float]:
    """Between and within from the restricted likelihood of the whole covariance, by search."""
    count, each = groups.shape
    y = groups.ravel()
    same = np.kron(np.eye(count), np.ones((each, each)))
    ones = np.ones((len(y), 1))

    def unlikely(roots: NDArray[np.float64]) -> float:
        between, within = roots**2
        covariance = between * same + within * np.eye(len(y))
        inverse = np.linalg.inv(covariance)
        information = (ones.T @ inverse @ ones).item()
        centred = y - (ones.T @ inverse @ y).item() / information
        determinant: float = np.linalg.slogdet(covariance)[1]
        return float(determinant + np.log(information) + centred @ inverse @ centred)

    starts = ((1.0, 1.0), (0.3, 1.0), (1.0, 0.3), (1e-3, 1.0))
    tries = [minimize(unlikely, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12,
                                                                      "maxiter": 4000})
             for start in starts]  # fmt: skip
    between, within = min(tries, key=lambda one: one.fun).x ** 2
    return float(between), float(within)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("shape", [(3, 2), (5, 2), (4, 3)])
def test_components_are_the_restricted_maximum_likelihood(
    ratio: float, shape: tuple[int, int]
) -> None:
    random = np.random.default_rng(round(10 * ratio) + 7 * shape[0] + shape[1])
    for _ in range(3):
        groups = random.normal(size=shape) + ratio * random.normal(size=(shape[0], 1))
        found = components(groups.tolist())
        assert found is not None
        between, within = _restricted_likelihood(groups)
        assert found.training == pytest.approx(between, abs=1e-4)
        assert found.attack == pytest.approx(within, rel=1e-3)


def test_components_by_hand_where_groups_differ_in_size() -> None:
    # Means 2, 6, 9; within (1 + 1) / (5 - 3); the mean of all is 5, so between is
    # (2 x 9 + 2 x 1 + 1 x 16) / 2 = 18, and n0 = (5 - (4 + 4 + 1) / 5) / 2 = 1.6.
    found = components([[2.0, 2.0], [5.0, 7.0], [9.0]])
    assert found == Components(pytest.approx((18 - 1) / 1.6), pytest.approx(1.0))
    assert found.training_share == pytest.approx((17 / 1.6) / (17 / 1.6 + 1))


def test_groups_that_differ_less_than_chance_leave_all_to_the_attack() -> None:
    found = components([[1.0, 3.0], [3.0, 1.0]])
    assert found == Components(0.0, pytest.approx(4 / 3))
    assert found.training_share == 0


def test_what_does_not_vary_has_no_shares() -> None:
    found = components([[0.5, 0.5], [0.5, 0.5]])
    assert found == Components(0.0, 0.0)
    assert found.training_share is None


@pytest.mark.parametrize("groups", [[], [[1.0, 2.0]], [[1.0], [2.0], [3.0]]])
def test_without_a_second_attack_nothing_is_told_apart(groups: list[list[float]]) -> None:
    assert components(groups) is None


def test_estimates_are_right_on_average() -> None:
    random = np.random.default_rng(1)
    groups = random.normal(size=(4000, 4, 2)) + 3 * random.normal(size=(4000, 4, 1))
    found = [components(one.tolist()) for one in groups]
    assert np.mean([one.training for one in found if one]) == pytest.approx(9, rel=0.05)
    assert np.mean([one.attack for one in found if one]) == pytest.approx(1, rel=0.05)
