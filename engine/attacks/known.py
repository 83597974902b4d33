"""Examples that are known already, tried on another model or in another ball."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.attacks.base import Attack
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog.entry import NoParams

PART = "known examples"
"""What its steps belong to."""


@dataclass(frozen=True, eq=False)
class Known:
    """Examples from one source.

    Attributes:
        title: of the source.
        rows: (M) int64, the images that they belong to, each once.
        points: (M, C, H, W) float32.
    """

    title: str
    rows: Tensor
    points: Tensor


class KnownExamples(Attack[NoParams]):
    """Shows the model one source after the other, each for the images that are left.

    A forward for each example; what lies outside the threat model is left out. A source is asked
    for when its turn comes, so that not all of them are in memory, and none once all is broken.

    Attributes:
        by: (N) int64 which source the point of an image is from, -1 where it is from none.
        titles: of the sources so far.
    """

    def __init__(self, sources: Iterable[Known]) -> None:
        super().__init__(NoParams())
        self._sources = sources
        self.by = torch.zeros(0, dtype=torch.int64)
        self.titles: list[str] = []

    def run(self, search: Search, pass_: Pass) -> None:
        """Try the examples of the survivors."""
        broken = search.verdicts.broken
        self.by = torch.full_like(search.labels, -1)
        with search.part(PART):
            for number, source in enumerate(self._sources):
                self.titles.append(source.title)
                rows = source.rows.to(search.images.device)
                points = source.points.to(search.images.device)
                fit = search.threat.holds(search.images[rows], points) & ~broken[rows]
                rows, points = rows[fit], points[fit]
                if len(rows):
                    step = search.step + 1
                    look = search.judge(rows, points, step)
                    search.emit(step, look, 0.0)
                    taken = (search.verdicts.best[rows] == points).flatten(1).all(dim=1)
                    self.by[rows[taken]] = number
                if broken.all():
                    return
