"""PGD in the Linf ball (Madry 2018, arXiv 1706.06083, eq. 4)."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.base import Attack
from engine.attacks.geometry.ball import linf_bounds
from engine.attacks.losses.objectives import log_odds
from engine.attacks.losses.rival_targets import attempts
from engine.attacks.search.lanes import Lanes
from engine.attacks.search.loop import Rule, SignStep, ascend, attempts_in_turn, finishing_steps
from engine.attacks.search.notes import Note
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog.attacks.ball import PgdParams


class PGD(Attack[PgdParams]):
    """Projected sign-gradient ascent on the cross-entropy; the best iterate counts."""

    STRIDE = 2.5
    """Length of a step in eps / steps, unless it is given."""

    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the survivors."""
        params = self.params
        usual = self.STRIDE * params.eps / params.steps
        step_size = usual if params.step_size is None else params.step_size
        restarts = params.restarts if params.random_start and not pass_.finishing else 1
        if not params.random_start and params.restarts > 1 and not pass_.finishing:
            search.notes.append(Note("no-restarts"))
        steps = finishing_steps(params.steps, finishing=pass_.finishing)
        objective, goals = attempts(search, lambda _: log_odds, restarts, params.targets)

        def climb(rows: Tensor, numbers: list[int]) -> None:
            starts = [self._start(search, pass_, rows, number) for number in numbers]
            aims = torch.cat([goals[number][rows] for number in numbers])
            points = torch.cat(starts)
            every, several = rows.repeat(len(numbers)), len(numbers) > 1
            lanes = Lanes(search, pass_, every, points, objective, aims, repeated=several)
            rule = self._rule(search.images[rows].repeat(len(numbers), 1, 1, 1), step_size)
            ascend(search, lanes, rule, steps)

        attempts_in_turn(search, len(goals), climb)

    def _start(self, search: Search, pass_: Pass, rows: Tensor, restart: int) -> Tensor:
        if pass_.finishing:
            return search.verdicts.best[rows]
        if not self.params.random_start:
            return search.images[rows]
        return self._drawn(search, rows, restart)

    def _drawn(self, search: Search, rows: Tensor, restart: int) -> Tensor:
        images = search.images[rows]
        drawn = images + self.params.eps * search.noise(rows, restart)
        return torch.clamp(drawn, *linf_bounds(images, self.params.eps))

    def _rule(self, images: Tensor, step_size: float) -> Rule:
        return SignStep(step_size, linf_bounds(images, self.params.eps))
