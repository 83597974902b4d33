"""Security curves from the distances of one minimum-norm run; numpy only, free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from engine.statistics.intervals import FloatArray, mcnemar_greater, wilson

SIGNIFICANCE = 0.05

_SLACK = 1e-6
"""Relative excess of a distance that still counts as inside, as in every verdict."""


@dataclass(frozen=True)
class SecurityCurve:
    """Robust accuracy against eps, each with its interval.

    Attributes:
        eps: (M) radii, as given.
        robust_accuracy: (M) share of all N images without an example within eps.
        ci_low: (M) lower end of the Wilson interval.
        ci_high: (M) upper end.
        n: number of images.
    """

    eps: FloatArray
    robust_accuracy: FloatArray
    ci_low: FloatArray
    ci_high: FloatArray
    n: int


def security_curve(distances: ArrayLike, eps_grid: ArrayLike) -> SecurityCurve:
    """Read robust accuracy at any eps off the distances of one run.

    The 95 % band is pointwise: it holds for each eps, not for the whole curve at once. Like every
    attack the distances are upper bounds, so the curve is an upper bound of the true one.

    Args:
        distances: (N) distance of the closest example of each image; 0 where misclassified
            clean, inf where none was found. N is at least 1.
        eps_grid: (M) radii in the norm of the distances, not negative, in any order.

    Raises:
        ValueError: there are no distances, or one is negative or NaN, or a radius is.
    """
    found = np.asarray(distances, float).ravel()
    eps = np.asarray(eps_grid, float).ravel()
    if not len(found):
        raise ValueError("there must be at least one distance")
    if not (np.all(found >= 0) and np.all(eps >= 0)):
        raise ValueError("distances and radii must be numbers >= 0")
    broken = np.searchsorted(np.sort(found), eps * (1 + _SLACK), side="right")
    robust = len(found) - broken
    # At inf nothing is further away, but an image that was never broken stays robust.
    robust = np.where(np.isinf(eps), np.isinf(found).sum(), robust)
    low, high = wilson(robust, len(found))
    share = robust / len(found)
    return SecurityCurve(eps, share, np.asarray(low), np.asarray(high), len(found))


def distances(samples: Sequence[Mapping[str, Any]], norm: str) -> FloatArray:
    """The distance of every image of a stored run.

    Args:
        samples: rows with ``broken``, ``l2`` and ``linf``, as the store keeps them.
        norm: of the run: "Linf", else L2 is meant.

    Returns:
        (N) float64, 0 where misclassified clean, inf where not broken.
    """
    column = "linf" if norm == "Linf" else "l2"
    return np.array([row[column] if row["broken"] else np.inf for row in samples], float)


@dataclass(frozen=True)
class CurveCheck:
    """A run at one eps beside the curve of another run, on the same images.

    Attributes:
        eps: where it was checked.
        curve: robust accuracy that the curve promises there.
        robust_accuracy: what the check found.
        only_curve: images broken by the run of the curve alone.
        only_check: images broken by the check alone.
        p_value: one-sided exact McNemar: the chance of so many ``only_check`` if both attacks
            were equally strong at this eps.
    """

    eps: float
    curve: float
    robust_accuracy: float
    only_curve: int
    only_check: int
    p_value: float

    @property
    def too_optimistic(self) -> bool:
        """Whether the check breaks significantly more than the curve says."""
        return self.p_value < SIGNIFICANCE


def check_curve(found: ArrayLike, broken: ArrayLike, eps: float) -> CurveCheck:
    """Compare a curve with the verdicts of an attack at one eps.

    Args:
        found: (N) distances, as for ``security_curve``.
        broken: (N) bool, of the other attack at ``eps``, same images and order.
        eps: its radius, in the norm of the distances.

    Raises:
        ValueError: the two differ in length, or are empty.
    """
    inside = np.asarray(found, float).ravel() <= eps * (1 + _SLACK)
    there = np.asarray(broken, bool).ravel()
    if inside.shape != there.shape or not len(inside):
        raise ValueError(f"paired runs need equal lengths, not {inside.shape} and {there.shape}")
    only_curve, only_check = int(np.sum(inside & ~there)), int(np.sum(there & ~inside))
    return CurveCheck(
        eps=eps,
        curve=float(np.mean(~inside)),
        robust_accuracy=float(np.mean(~there)),
        only_curve=only_curve,
        only_check=only_check,
        p_value=mcnemar_greater(only_check, only_curve),
    )
