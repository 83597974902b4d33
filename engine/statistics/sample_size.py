"""How many images it takes to tell two runs apart; numpy only, free of torch and scipy.

Both runs see the same images, and ``mcnemar_exact`` tests what was found. Its power hangs on the
difference and on how often the two disagree: what both break, or neither, tells nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from engine.errors import SpecError

LEVEL = 0.05
POWER = 0.8
MOST_IMAGES = 100_000
"""Twice the largest test set that is in use, ImageNet's."""
_FINE = 1e-4
"""How near to the truth a difference is told, as a share of it."""
_FAR, _FURTHER = 8, 40
"""Standard deviations, and counts beyond them, from the mean to what has no chance."""
_ROUNDING = 1e-12
_SLACK = 1e-9
"""Of shares that were made from decimals: 0.9 - 0.6 is a little more than 0.3."""
Counts = NDArray[np.int64] | int


@dataclass(frozen=True)
class Disagreement:
    """How often two runs disagree, as shares of all images.

    Attributes:
        only_a: broken in A alone.
        only_b: broken in B alone.
    """

    only_a: float
    only_b: float

    @classmethod
    def least(cls, robust_a: float, robust_b: float) -> Disagreement:
        """What is broken in the more robust run is broken in the other, too."""
        return cls(max(robust_b - robust_a, 0.0), max(robust_a - robust_b, 0.0))

    @classmethod
    def independent(cls, robust_a: float, robust_b: float) -> Disagreement:
        """Whether B breaks an image has nothing to do with whether A does."""
        return cls((1 - robust_a) * robust_b, robust_a * (1 - robust_b))

    @classmethod
    def of(cls, robust_a: float, robust_b: float, differ: float) -> Disagreement:
        """They differ on this share of the images.

        Raises:
            SpecError: two runs of such accuracies cannot.
        """
        least = abs(robust_a - robust_b)
        most = min(robust_a + robust_b, 2 - robust_a - robust_b)
        if not least - _SLACK <= differ <= most + _SLACK:
            raise SpecError(
                f"disagree is {differ:.4g} of the images, but runs that are right on "
                f"{robust_a:.4g} and {robust_b:.4g} of them differ on {least:.4g} to {most:.4g}.",
                field="disagree",
            )
        further = robust_b - robust_a
        return cls(max((differ + further) / 2, 0.0), max((differ - further) / 2, 0.0))


def paired_power(images: int, share: Disagreement, level: float = LEVEL) -> float:
    """The chance that the exact McNemar test tells two runs apart.

    Args:
        images: that both see, at least 1.
        share: how often they truly disagree.
        level: of the two-sided test.

    Returns:
        In [0,1], exact up to rounding: over all numbers of pairs that may differ.
    """
    differ = min(share.only_a + share.only_b, 1.0)
    if differ <= 0:
        return 0.0
    counts = _likely(images, differ)
    most = _rejected(_room(images), level)[counts]
    of_a = min(share.only_a / differ, 1.0)
    tails = _lower_tails(counts, most, of_a) + _lower_tails(counts, most, 1 - of_a)
    return float(np.clip(_chances(images, counts, differ) @ tails, 0.0, 1.0))


def images_needed(share: Disagreement, power: float = POWER, level: float = LEVEL) -> int | None:
    """The fewest images with which two runs are told apart with this power.

    About the fewest: the test's power rises with the images like the teeth of a saw.

    Returns:
        None if they do not differ, and beyond ``MOST_IMAGES``.
    """
    if share.only_a == share.only_b:
        return None
    low, high = 0, 1
    while paired_power(high, share, level) < power:
        if high == MOST_IMAGES:
            return None
        low, high = high, min(2 * high, MOST_IMAGES)
    while high - low > 1:
        middle = (low + high) // 2
        if paired_power(middle, share, level) < power:
            low = middle
        else:
            high = middle
    return high


def smallest_difference(
    images: int,
    robust: float,
    disagree: Callable[[float, float], Disagreement],
    power: float = POWER,
    level: float = LEVEL,
) -> float | None:
    """How far below a robust accuracy another one must lie to be told apart with this power.

    Args:
        images: that both see.
        robust: of the better run, in (0,1].
        disagree: from both accuracies to how often they disagree, ``Disagreement.least`` say.

    Returns:
        In (0, robust]; None if not even a run that breaks on all images is told apart.
    """
    if paired_power(images, disagree(robust, 0.0), level) < power:
        return None
    low, high = 0.0, robust
    while high - low > _FINE * high:
        middle = (low + high) / 2
        if paired_power(images, disagree(robust, robust - middle), level) < power:
            low = middle
        else:
            high = middle
    return high


def _likely(n: int, share: float) -> NDArray[np.int64]:
    """The counts among n that have any chance to speak of, one after the other.

    By Bernstein's inequality the others have one of less than 1e-13 together.
    """
    reach = _FAR * np.sqrt(n * share * (1 - share)) + _FURTHER
    return np.arange(max(0, int(n * share - reach)), min(n, int(n * share + reach)) + 1)


def _chances(n: Counts, k: Counts, share: float) -> NDArray[np.float64]:
    """The chances of k among n, number by number; k below 0 has none."""
    if share in (0.0, 1.0):
        return np.where(np.equal(k, n if share else 0), 1.0, 0.0)
    logs, some = _log_factorials(_room(int(np.max(n)))), np.maximum(k, 0)
    rest = n - some
    ways = logs[n] - logs[some] - logs[rest]
    chances = np.exp(ways + some * np.log(share) + rest * np.log1p(-share))
    return np.where(np.less(k, 0), 0.0, chances)


def _lower_tails(
    n: NDArray[np.int64], most: NDArray[np.int64], share: float
) -> NDArray[np.float64]:
    """The chances of at most so many among n.

    One more trial takes the chance of a hit at the edge away, one more that is allowed brings
    its own, so that all tails follow from the first.

    Args:
        n: (M) numbers of trials that follow one another.
        most: (M) counts from -1 up that stay or rise by one.
        share: of hits, in [0,1].
    """
    at_edge = _chances(n, most, share)
    changes = np.where(np.diff(most) > 0, at_edge[1:], 0.0) - share * at_edge[:-1]
    reach = _FAR * np.sqrt(n[0] * share * (1 - share)) + _FURTHER
    few = np.arange(max(0, int(min(most[0], n[0] * share) - reach)), most[0] + 1)
    first = _chances(n[0], few, share).sum()
    tails: NDArray[np.float64] = first + np.concatenate([[0.0], np.cumsum(changes)])
    return tails


def _room(n: int) -> int:
    """So that few tables are kept."""
    return int(2 ** np.ceil(np.log2(max(n, 1024))))


@cache
def _log_factorials(most: int) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])


@cache
def _rejected(most: int, level: float) -> NDArray[np.int64]:
    """For 0 ... most pairs that differ the largest count of the rarer side at which the test
    rejects; -1 where it never does.

    Near the normal approximation; the chances that decide are exact.
    """
    n = np.arange(most + 1)
    z = NormalDist().inv_cdf(1 - level / 2)
    guess = np.maximum(np.floor((n - z * np.sqrt(n) - 1) / 2).astype(np.int64), -1)
    at_guess = _lower_tails(n, guess, 0.5)
    below = at_guess - _chances(n, guess, 0.5)
    above = at_guess + _chances(n, guess + 1, 0.5)
    # The guess is never off by more than one.
    rejects = np.stack([below, at_guess, above]) <= level / 2 + _ROUNDING
    most_rejected: NDArray[np.int64] = np.maximum(guess - 2 + rejects.sum(axis=0), -1)
    return most_rejected
