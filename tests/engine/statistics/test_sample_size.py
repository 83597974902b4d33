"""Sample sizes against the definition, closed forms and simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize, stats

from engine.errors import SpecError
from engine.statistics import sample_size
from engine.statistics.intervals import mcnemar_exact
from engine.statistics.sample_size import (
    Disagreement,
    images_needed,
    paired_power,
    smallest_difference,
)

CASES = [
    (50, Disagreement(0.2, 0.05)),
    (50, Disagreement(0.0, 0.15)),
    (120, Disagreement(0.1, 0.1)),
    (300, Disagreement(0.24, 0.2)),
]


@pytest.mark.parametrize(("images", "share"), CASES)
def test_power_is_the_sum_over_all_tables(images: int, share: Disagreement) -> None:
    """By the definition: every pair of counts, its chance, and what the test says of it."""
    expected = sum(
        stats.multinomial.pmf([a, b, images - a - b], images, [share.only_a, share.only_b, rest])
        for a in range(images + 1)
        for b in range(images + 1 - a)
        if a + b < 110 and mcnemar_exact(a, b) <= 0.05
        for rest in [1 - share.only_a - share.only_b]
    )
    most = stats.binom.sf(109, images, share.only_a + share.only_b)
    assert paired_power(images, share) == pytest.approx(expected, abs=1e-9 + most)


@pytest.mark.parametrize(
    ("images", "share"),
    [
        (20_000, Disagreement.independent(0.5, 0.49)),
        (20_000, Disagreement(0.0004, 0.0001)),
        (100_000, Disagreement(0.3, 0.296)),
        (3_000, Disagreement(0.51, 0.49)),
    ],
)
def test_power_of_many_images_is_that_of_scipy(images: int, share: Disagreement) -> None:
    differ = share.only_a + share.only_b
    counts = np.arange(images + 1)
    counts = counts[stats.binom.pmf(counts, images, differ) > 1e-14]
    most = stats.binom.ppf(0.025, counts, 0.5).astype(int)
    most = np.where(stats.binom.cdf(most, counts, 0.5) > 0.025, most - 1, most)
    of_a = share.only_a / differ
    tails = stats.binom.cdf(most, counts, of_a) + stats.binom.sf(counts - most - 1, counts, of_a)
    expected = stats.binom.pmf(counts, images, differ) @ tails
    assert paired_power(images, share) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("level", [0.2, 0.05, 0.001])
def test_rejected_is_what_the_test_rejects(level: float) -> None:
    """At every number of pairs that differ: at the edge it rejects, one further it does not."""
    for count, most in enumerate(sample_size._rejected(700, level).tolist()):
        assert most < 0 or mcnemar_exact(most, count - most) <= level
        beyond = most + 1
        assert 2 * beyond > count or mcnemar_exact(beyond, count - beyond) > level


@pytest.mark.parametrize("seen", [0.02, 0.1, 0.4])
def test_where_one_never_wins_alone_six_pairs_decide(seen: float) -> None:
    """2 / 2^6 is below 5 %, 2 / 2^5 is not."""
    images = 200
    assert paired_power(images, Disagreement(seen, 0.0)) == pytest.approx(
        stats.binom.sf(5, images, seen), abs=1e-9
    )


def test_no_difference_is_found_no_more_often_than_the_level_says() -> None:
    for differ in (0.01, 0.1, 0.5, 1.0):
        assert paired_power(400, Disagreement(differ / 2, differ / 2)) <= 0.05


@pytest.mark.parametrize("differ", [0.06, 0.1, 0.25, 0.48])
def test_the_images_reach_the_power_in_simulation(differ: float) -> None:
    share = Disagreement.of(0.42, 0.38, differ)
    assert share.only_b - share.only_a == pytest.approx(0.04)
    images = images_needed(share)
    assert images is not None
    rng = np.random.default_rng(0)
    shares = [share.only_a, share.only_b, 1 - differ]
    tables = rng.multinomial(images, shares, 4000)
    told = [mcnemar_exact(int(a), int(b)) <= 0.05 for a, b, _ in tables]
    assert np.mean(told) == pytest.approx(0.8, abs=0.03)


def test_fewer_images_do_not_and_more_agreement_needs_fewer() -> None:
    needed = [images_needed(Disagreement.of(0.42, 0.38, one)) for one in (0.04, 0.1, 0.2, 0.4)]
    assert needed == sorted(needed)  # type: ignore[type-var]
    share = Disagreement.of(0.42, 0.38, 0.1)
    images = images_needed(share)
    assert images is not None
    assert paired_power(images, share) >= 0.8 > paired_power(images - 1, share)
    assert images_needed(Disagreement(0.1, 0.1)) is None


def test_between_the_last_power_of_two_and_the_most_images_is_looked_too() -> None:
    """42 against 41.3: about (1.96 + 0.84)^2 differ / difference^2 images, which is 78,000."""
    share = Disagreement.independent(0.42, 0.413)
    images = images_needed(share)
    assert images is not None
    assert images == pytest.approx(7.85 * (share.only_a + share.only_b) / 0.007**2, rel=0.02)
    assert paired_power(images, share) >= 0.8 > paired_power(images - 1, share)
    assert images_needed(Disagreement.independent(0.42, 0.414)) is None


def test_how_far_two_runs_can_disagree() -> None:
    """By hand: 42 and 38 of 100 can differ on 4 at least, on 80 at most."""
    assert Disagreement.least(0.42, 0.38) == Disagreement.of(0.42, 0.38, 0.42 - 0.38)
    both = Disagreement.independent(0.42, 0.38)
    assert both.only_a == pytest.approx(0.58 * 0.38)
    assert both.only_b == pytest.approx(0.42 * 0.62)
    for differ in (0.03, 0.81):
        with pytest.raises(SpecError, match=r"differ on 0\.04 to 0\.8\."):
            Disagreement.of(0.42, 0.38, differ)


@pytest.mark.parametrize("tenths", range(11))
def test_both_ends_of_how_far_they_can_disagree_are_possible(tenths: int) -> None:
    """Written in decimals, whose differences are not exact."""
    for other in range(11):
        robust_a, robust_b = tenths / 10, other / 10
        for differ in (abs(tenths - other), min(tenths + other, 20 - tenths - other)):
            found = Disagreement.of(robust_a, robust_b, differ / 10)
            assert min(found.only_a, found.only_b) >= 0
            assert found.only_a + found.only_b == pytest.approx(differ / 10)
            assert found.only_b - found.only_a == pytest.approx(robust_a - robust_b)


@pytest.mark.parametrize("how", [Disagreement.least, Disagreement.independent])
def test_the_smallest_difference_just_reaches_the_power(
    how: Callable[[float, float], Disagreement],
) -> None:
    least = smallest_difference(50, 0.4, how)
    assert least is not None
    assert paired_power(50, how(0.4, 0.4 - least)) >= 0.8
    assert paired_power(50, how(0.4, 0.4 - least + 0.005)) < 0.8
    assert smallest_difference(5, 0.4, how) is None  # five pairs never reach 5 %


@pytest.mark.parametrize("images", [50, 3_000, 100_000])
def test_the_smallest_difference_is_as_fine_with_many_images(images: int) -> None:
    """Where one never wins alone, six pairs decide: the root of a binomial tail."""
    least = smallest_difference(images, 0.4, Disagreement.least)
    exact = optimize.brentq(lambda share: stats.binom.sf(5, images, share) - 0.8, 1e-9, 0.4)
    assert least == pytest.approx(exact, rel=2e-4)
