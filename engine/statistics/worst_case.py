"""The worst case: what survives several searches together, and who of them broke what.

Everything that tells a worst case reads it here. numpy only, free of torch and scipy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """What one search has to do with a worst case.

    Attributes:
        title: what searched, to stand in a table.
        run: id of the run that found it; of transferred examples the strongest source.
        broken: images that it broke, of those that are right without an attack.
        only: images that it broke and nobody else; None where it met only what others had left.
        left: images that survive it and all that stand above it.
    """

    title: str
    run: int
    broken: int
    only: int | None
    left: int


@dataclass(frozen=True)
class WorstCase:
    """What is left of a variant in one threat model.

    Attributes:
        images: all.
        mistakes: images that are misclassified without an attack.
        survivors: images that are broken by nobody.
        parts: the searches, those that broke most first.
        left: (images) which survive.
    """

    images: int
    mistakes: int
    survivors: int
    parts: tuple[Part, ...]
    left: BoolArray = field(compare=False, repr=False)


def survivors(broken: BoolArray, *, random: bool = False) -> BoolArray:
    """Which images survive.

    Args:
        broken: (F, N), a row for each search; False where it did not look.
        random: the variant is, so each search is one more draw. What several draws break does not
            add up, since over many of them any image would break in the end: the row that breaks
            most counts alone.

    Returns:
        (N); all survive where there is no search.
    """
    if random and len(broken):
        broken = broken[[int(np.argmax(broken.sum(axis=1)))]]
    left: BoolArray = np.logical_not(np.any(broken, axis=0))
    return left


def worst_case(
    titles: Sequence[tuple[str, int]],
    broken: BoolArray,
    mistakes: BoolArray,
    *,
    met_all: Sequence[bool] | None = None,
    random: bool = False,
) -> WorstCase:
    """Count who broke what.

    Args:
        titles: name and run of each search.
        broken: (F, N), a row for each of them.
        mistakes: (N) misclassified without an attack, and so broken for everybody.
        met_all: (F) whether each met all images; all did if None.
        random: as ``survivors`` takes it.
    """
    found = broken & ~mistakes
    order = np.argsort(-found.sum(axis=1), kind="stable")
    times = found.sum(axis=0)
    parts = []
    for place, number in enumerate(order, 1):
        mine = found[number]
        left = survivors(np.vstack([mistakes, broken[order[:place]]]), random=random)
        title, run = titles[number]
        alone = int(np.sum(mine & (times == 1)))
        only = alone if met_all is None or met_all[number] else None
        parts.append(Part(title, run, int(mine.sum()), only, int(left.sum())))
    left = survivors(np.vstack([mistakes, broken]), random=random)
    return WorstCase(len(mistakes), int(mistakes.sum()), int(left.sum()), tuple(parts), left)
