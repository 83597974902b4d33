"""Intervals for shares and tests for paired differences; numpy only, free of torch and scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def wilson(
    successes: ArrayLike, n: ArrayLike, confidence: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Score interval of a binomial share.

    Args:
        successes: counts, any shape, 0 <= successes <= n.
        n: numbers of trials, broadcast against ``successes``; 0 trials give (0, 1).
        confidence: coverage in (0,1).

    Returns:
        Lower and upper ends in [0,1], in the broadcast shape (NumPy scalars for two scalars).

    Raises:
        ValueError: a count is negative or above n, or the confidence is outside (0,1).

    Source: Wilson 1927, JASA 22(158), 209-212; without continuity correction.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r} but must lie between 0 and 1")
    k, trials = np.broadcast_arrays(np.asarray(successes, float), np.asarray(n, float))
    if not np.all((k >= 0) & (k <= trials)):
        raise ValueError("successes must lie between 0 and n")
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    # Multiplied out by n, so that n = 0 needs no case of its own: it gives the interval (0, 1).
    middle = k + z2 / 2
    half = np.sqrt(z2 * (k * (1 - k / np.maximum(trials, 1)) + z2 / 4))
    # At k = 0 and k = n the ends are exactly 0 and 1; rounding must not move them inside.
    low = np.where(k == 0, 0.0, (middle - half) / (trials + z2))
    high = np.where(k == trials, 1.0, (middle + half) / (trials + z2))
    return low[()], high[()]


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact McNemar test of paired outcomes.

    Args:
        only_a: pairs in which the event happened to A alone.
        only_b: pairs in which it happened to B alone.

    Returns:
        The p-value in (0,1]; 1 if no pair differs.

    Raises:
        ValueError: a count is negative.

    Source: McNemar 1947, Psychometrika 12(2), 153-157; the exact form is the sign test, a
    binomial test of min(only_a, only_b) out of only_a + only_b at 1/2.
    """
    if only_a < 0 or only_b < 0:
        raise ValueError("counts of pairs cannot be negative")
    n = only_a + only_b
    return min(1.0, 2 * _subsets(n, min(only_a, only_b)) / (1 << n))


def mcnemar_greater(only_a: int, only_b: int) -> float:
    """One-sided exact McNemar test: does the event happen to A more often than to B?

    Args:
        only_a: pairs in which the event happened to A alone.
        only_b: pairs in which it happened to B alone.

    Returns:
        The chance in (0,1] of at least ``only_a`` among the pairs that differ if both were
        equally likely; 1 if no pair differs.

    Raises:
        ValueError: a count is negative.

    Source: as ``mcnemar_exact``.
    """
    if only_a < 0 or only_b < 0:
        raise ValueError("counts of pairs cannot be negative")
    n = only_a + only_b
    return _subsets(n, only_b) / (1 << n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of several tests, in their order: none is rejected by accident.

    Args:
        p_values: of each test, in [0,1].

    Returns:
        What to compare with the level of all tests together, in [0,1].

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2), 65-70.
    """
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, (len(p_values) - rank) * p_values[place])
        adjusted[place] = min(highest, 1.0)
    return adjusted


def _subsets(n: int, most: int) -> int:
    """Subsets of n things that have at most so many members.

    An integer, and so is 2^n: the power overflows a float from n = 1024 on.
    """
    total = term = 1
    for k in range(most):
        term = term * (n - k) // (k + 1)  # binomial(n, k + 1), from the one before it
        total += term
    return total


@dataclass(frozen=True)
class PairedDifference:
    """How two runs on the same images differ.

    Attributes:
        difference: robust accuracy of A minus that of B, in [-1,1].
        low: lower end of its score interval (``paired_interval``).
        high: upper end.
        p_value: two-sided exact McNemar test of "no difference".
        only_a: images broken in A alone.
        only_b: images broken in B alone.
        n: images compared.
    """

    difference: float
    low: float
    high: float
    p_value: float
    only_a: int
    only_b: int
    n: int


def paired_difference(broken_a: ArrayLike, broken_b: ArrayLike) -> PairedDifference:
    """Difference of robust accuracy between two runs that saw the same images.

    Args:
        broken_a: (N,) bool, image by image, for run A.
        broken_b: (N,) bool for run B, in the same order of images.

    Returns:
        Difference A minus B with its 95 % interval and its McNemar p-value.

    Raises:
        ValueError: the two differ in length, are empty or are not one-dimensional.
    """
    a, b = np.asarray(broken_a, dtype=bool), np.asarray(broken_b, dtype=bool)
    if a.shape != b.shape or a.ndim != 1 or a.size == 0:
        raise ValueError(f"paired runs need equal, non-empty lengths, not {a.shape} and {b.shape}")
    n = a.size
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    low, high = paired_interval(only_a, only_b, n)
    return PairedDifference(
        difference=(only_b - only_a) / n,
        low=low,
        high=high,
        p_value=mcnemar_exact(only_a, only_b),
        only_a=only_a,
        only_b=only_b,
        n=n,
    )


def paired_interval(
    only_a: int, only_b: int, n: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Score interval of a difference of two shares of the same n things.

    Right at the edge, too: no pair that differs among 60 leaves room for 6 points either way.

    Args:
        only_a: pairs that count against A alone.
        only_b: pairs that count against B alone.
        n: pairs in all, at least 1.
        confidence: coverage in (0,1).

    Returns:
        Lower and upper end in [-1,1] of (only_b - only_a) / n.

    Source: Tango 1998, Statistics in Medicine 17(8), 891-908: the differences that the score
    test does not reject.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    high = _furthest(only_a, only_b, n, z)
    return -_furthest(only_b, only_a, n, z), high


def _furthest(fewer: int, more: int, n: int, z: float) -> float:
    """The largest difference that is not rejected; bisection, as the statistic falls with it."""
    low, high = (more - fewer) / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _score(fewer, more, n, middle) < -z:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def _score(fewer: int, more: int, n: int, difference: float) -> float:
    """The score statistic of a difference in (-1,1): 0 at the one that was found."""
    b = (2 * n - more + fewer) * difference - more - fewer
    c = -fewer * difference * (1 - difference)
    # The likeliest share of ``fewer`` if the difference was this one.
    share = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    distance = more - fewer - n * difference
    if variance <= 0:
        return 0.0 if not distance else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)
