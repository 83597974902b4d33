"""Repeats over seeds: how far they spread, and how much of it is training and how much attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Spread:
    """What the same measurement gave several times.

    Attributes:
        count: of repeats.
        mean, deviation: of them, the latter with n - 1; None of one repeat.
        low, high: the smallest and the largest.
    """

    count: int
    mean: float
    deviation: float | None
    low: float
    high: float

    @property
    def variance(self) -> float | None:
        """The square of the deviation."""
        return None if self.deviation is None else self.deviation**2


@dataclass(frozen=True)
class Components:
    """Variances, in squares of what was measured.

    Attributes:
        training: between variants that were trained with different seeds.
        attack: between attacks on one of them with different seeds.
    """

    training: float
    attack: float

    @property
    def training_share(self) -> float | None:
        """Of the variance of one training under one attack, in [0,1]; None if nothing varies."""
        whole = self.training + self.attack
        return self.training / whole if whole > 0 else None


def spread(values: Sequence[float]) -> Spread:
    """Describe repeats.

    Args:
        values: one per repeat, at least one.
    """
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(len(values), float(np.mean(values)), deviation, min(values), max(values))


def components(groups: Sequence[Sequence[float]]) -> Components | None:
    """Split the variance of a nested design: attacks within trained variants.

    The estimators of the one-way analysis of variance with random groups. Where groups differ
    less than chance alone would make them, training gets nothing and all is one variance. With
    equally many attacks of each variant that is the restricted maximum likelihood.

    Args:
        groups: for each variant what its attacks found, one or more.

    Returns:
        None where it cannot be told: there are not two variants, or none was attacked twice.

    Source: Searle, Casella & McCulloch 1992, Variance Components, chapter 3.6.
    """
    sizes = np.array([len(group) for group in groups], float)
    total, count = sizes.sum(), len(groups)
    if count < 2 or total == count:
        return None
    values = np.concatenate([np.asarray(group, float) for group in groups])
    means = np.array([np.mean(group) for group in groups])
    within = _squares(values - np.repeat(means, sizes.astype(int))) / (total - count)
    between = float(sizes @ (means - values.mean()) ** 2) / (count - 1)
    if between <= within:
        return Components(0.0, _squares(values - values.mean()) / (total - 1))
    each = (total - (sizes**2).sum() / total) / (count - 1)
    return Components((between - within) / each, within)


def _squares(values: NDArray[np.float64]) -> float:
    return float(values @ values)
