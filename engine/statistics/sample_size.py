"""How many images it takes to tell two runs apart; numpy only, free of torch and scipy.

Both runs see the same images, and ``mcnemar_exact`` tests what was found. Its power hangs on the
difference and on how often the two disagree: what both break, or neither, tells nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from engine.errors import SpecError

LEVEL = 0.05
POWER = 0.8
MOST_IMAGES = 100_000
"""Twice the largest test set that is in use, ImageNet's."""
_FINE = 1e-4
_UNLIKELY = 1e-12
"""Numbers of pairs that differ with a smaller chance are left out."""


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
        if not least <= differ <= most:
            raise SpecError(
                f"disagree is {differ:.4g} of the images, but runs that are right on "
                f"{robust_a:.4g} and {robust_b:.4g} of them differ on {least:.4g} to {most:.4g}.",
                field="disagree",
            )
        return cls((differ + robust_b - robust_a) / 2, (differ + robust_a - robust_b) / 2)


def paired_power(images: int, share: Disagreement, level: float = LEVEL) -> float:
    """The chance that the exact McNemar test tells two runs apart.

    Args:
        images: that both see, at least 1.
        share: how often they truly disagree.
        level: of the two-sided test.

    Returns:
        In [0,1], exact up to rounding: over all numbers of pairs that may differ.
    """
    differ = share.only_a + share.only_b
    if differ <= 0:
        return 0.0
    chances = _binomial(images, min(differ, 1.0))
    power = 0.0
    for count in np.flatnonzero(chances > _UNLIKELY).tolist():
        if (most := _rejected(count, level)) >= 0:
            tails = _binomial(count, share.only_a / differ)
            power += chances[count] * (tails[: most + 1].sum() + tails[count - most :].sum())
    return float(min(power, 1.0))


def images_needed(share: Disagreement, power: float = POWER, level: float = LEVEL) -> int | None:
    """The fewest images with which two runs are told apart with this power.

    About the fewest: the test's power rises with the images like the teeth of a saw.

    Returns:
        None if they do not differ, and beyond ``MOST_IMAGES``.
    """
    if share.only_a == share.only_b:
        return None
    enough = 1
    while paired_power(enough, share, level) < power:
        enough *= 2
        if enough > MOST_IMAGES:
            return None
    low, high = enough // 2, enough
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
    while high - low > _FINE:
        middle = (low + high) / 2
        if paired_power(images, disagree(robust, robust - middle), level) < power:
            low = middle
        else:
            high = middle
    return high


def _binomial(n: int, share: float) -> NDArray[np.float64]:
    """The chances of 0, 1 ... n among n."""
    if share in (0.0, 1.0):
        certain = np.zeros(n + 1)
        certain[int(n * share)] = 1.0
        return certain
    k = np.arange(n + 1)
    logs = _log_factorials(_room(n))
    ways = logs[n] - logs[k] - logs[n - k]
    chances: NDArray[np.float64] = np.exp(ways + k * np.log(share) + (n - k) * np.log1p(-share))
    return chances


def _room(n: int) -> int:
    """So that few tables are kept."""
    return int(2 ** np.ceil(np.log2(max(n, 1024))))


@cache
def _log_factorials(most: int) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])


@cache
def _rejected(differ: int, level: float) -> int:
    """The largest count of the rarer side at which the test rejects; -1 if it never does."""
    tail = np.cumsum(_binomial(differ, 0.5)[: differ // 2 + 1])
    return int(np.searchsorted(2 * tail, level, side="right")) - 1
