"""PGD in the Linf ball (Madry 2018, arXiv 1706.06083, eq. 4)."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.ball import linf_bounds
from engine.attacks.loop import SignStep, ascend
from engine.attacks.search import Search


class PGD:
    """Projected sign-gradient ascent on the cross-entropy; the best iterate counts.

    Args:
        eps: radius of the Linf ball, in [0, 1].
        steps: gradients per restart.
        step_size: length of a step; None means 2.5 eps / steps.
        random_start: start at a uniform point of the ball, clipped to the box.
        restarts: attempts, each on the images that survived the ones before.
    """

    STRIDE = 2.5
    """Length of a step in eps / steps, unless it is given."""

    def __init__(
        self,
        eps: float,
        steps: int = 40,
        step_size: float | None = None,
        random_start: bool = True,
        restarts: int = 1,
    ) -> None:
        self.eps, self.steps, self.step_size = eps, steps, step_size
        self.random_start, self.restarts = random_start, restarts

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(eps={self.eps!r}, steps={self.steps!r}, "
            f"step_size={self.step_size!r}, random_start={self.random_start!r}, "
            f"restarts={self.restarts!r})"
        )

    def run(self, search: Search) -> None:
        """Attack the survivors."""
        usual = self.STRIDE * self.eps / self.steps
        step_size = usual if self.step_size is None else self.step_size
        attempts = self.restarts if self.random_start else 1
        if attempts < self.restarts:
            search.notes.append("Restarts were ignored: without a random start all are equal.")
        for restart in range(attempts):
            rows = search.survivors()
            if not len(rows):
                return
            self._climb(search, rows, restart, step_size)

    def _climb(self, search: Search, rows: Tensor, restart: int, step_size: float) -> None:
        images = search.images[rows]
        bounds = linf_bounds(images, self.eps)
        start = images + self.eps * search.noise(rows, restart) if self.random_start else images
        start = torch.clamp(start, *bounds)
        ascend(search, rows, start, bounds, SignStep(step_size), self.steps)
