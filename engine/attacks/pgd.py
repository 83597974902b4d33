"""PGD in the Linf ball (Madry 2018, arXiv 1706.06083, eq. 4)."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.geometry.ball import linf_bounds
from engine.attacks.losses.objectives import log_odds
from engine.attacks.losses.rival_targets import attempts
from engine.attacks.search.lanes import Lanes
from engine.attacks.search.loop import Rule, SignStep, ascend, attempts_in_turn, finishing_steps
from engine.attacks.search.search import Search


class PGD:
    """Projected sign-gradient ascent on the cross-entropy; the best iterate counts.

    Args:
        eps: radius of the Linf ball, in [0, 1].
        steps: gradients per restart.
        step_size: length of a step; None means 2.5 eps / steps.
        random_start: start at a uniform point of the ball, clipped to the box.
        restarts: attempts, each on the images that survived the ones before.
        targets: classes to climb to one by one, in attempts of their own (Gowal 2019); 0: none.
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
        targets: int = 0,
    ) -> None:
        self.eps, self.steps, self.step_size = eps, steps, step_size
        self.random_start, self.restarts, self.targets = random_start, restarts, targets

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(eps={self.eps!r}, steps={self.steps!r}, "
            f"step_size={self.step_size!r}, random_start={self.random_start!r}, "
            f"restarts={self.restarts!r}, targets={self.targets!r})"
        )

    def run(self, search: Search) -> None:
        """Attack the survivors."""
        usual = self.STRIDE * self.eps / self.steps
        step_size = usual if self.step_size is None else self.step_size
        restarts = self.restarts if self.random_start and not search.finishing else 1
        if not self.random_start and self.restarts > 1 and not search.finishing:
            search.notes.append("Restarts were ignored: without a random start all are equal.")
        steps = finishing_steps(self.steps, finishing=search.finishing)
        objective, goals = attempts(search, lambda _: log_odds, restarts, self.targets)

        def climb(rows: Tensor, numbers: list[int]) -> None:
            starts = [self._start(search, rows, number) for number in numbers]
            aims = torch.cat([goals[number][rows] for number in numbers])
            points = torch.cat(starts)
            lanes = Lanes(search, rows.repeat(len(numbers)), points, objective, aims)
            rule = self._rule(search.images[rows].repeat(len(numbers), 1, 1, 1), step_size)
            ascend(search, lanes, rule, steps)

        attempts_in_turn(search, len(goals), climb)

    def _start(self, search: Search, rows: Tensor, restart: int) -> Tensor:
        if search.finishing:
            return search.best[rows]
        return self._drawn(search, rows, restart) if self.random_start else search.images[rows]

    def _drawn(self, search: Search, rows: Tensor, restart: int) -> Tensor:
        images = search.images[rows]
        drawn = images + self.eps * search.noise(rows, restart)
        return torch.clamp(drawn, *linf_bounds(images, self.eps))

    def _rule(self, images: Tensor, step_size: float) -> Rule:
        return SignStep(step_size, linf_bounds(images, self.eps))
