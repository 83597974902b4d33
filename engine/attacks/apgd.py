"""Auto-PGD: a step size that adapts to each image (Croce 2020, arXiv 2003.01690, algorithm 1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.attacks.geometry.threat import Region, region_of
from engine.attacks.losses.objectives import Objective
from engine.attacks.search.lanes import Lanes
from engine.attacks.search.loop import ascend, attempts_in_turn, finishing_steps
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog.attacks.auto import ApgdParams

_MOMENTUM = 0.75
_FINISHING_SIZE = 0.25
"""Share of the first step size, where the search begins at a point that was searched for."""


def checkpoints(steps: int) -> list[int]:
    """Steps after which the step size is reconsidered.

    The first gap is 22 % of the steps, each further one 3 % of the steps shorter, but never
    below 6 %. For 100 steps: 22, 41, 57, 70, 80, 87, 93, 99.
    """
    gap, shortest, less = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    found, at = list[int](), gap
    while at <= steps:
        found.append(at)
        gap = max(gap - less, shortest)
        at += gap
    return found


@dataclass
class _State:
    """What APGD remembers of each lane.

    Attributes:
        points: (M, C, H, W) where the search is; ``before`` where it was one step ago.
        size: (M, 1, 1, 1) step size.
        rises: (M) steps since the last checkpoint that raised the loss.
        checked: (M) best loss at the last checkpoint.
        halved: (M) whether the step size was halved there.
    """

    points: Tensor
    size: Tensor
    before: Tensor = field(init=False)
    gradient: Tensor = field(init=False)
    loss: Tensor = field(init=False)
    best: Tensor = field(init=False)
    best_gradient: Tensor = field(init=False)
    best_loss: Tensor = field(init=False)
    rises: Tensor = field(init=False)
    checked: Tensor = field(init=False)
    halved: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.best = self.points
        self.gradient = self.best_gradient = torch.zeros_like(self.points)
        # No loss has been seen: the first one is no rise over it, but the best so far.
        self.loss = torch.full((len(self.points),), torch.inf, device=self.points.device)
        self.best_loss = self.checked = -self.loss
        self.rises = torch.zeros_like(self.loss, dtype=torch.int64)
        self.halved = torch.ones_like(self.rises, dtype=torch.bool)


class Climb(_State):
    """The rule of algorithm 1: momentum, and a step size that is halved where it stalls.

    The count of rising steps at the first checkpoint compares the first step with the starting
    point. The reference implementation compares it with a row that is not filled yet, a loss
    of 0.

    Args:
        region: the ball of each lane.
        start: (M, C, H, W) the first points.
        size: first step size.
        steps: gradients to come.
        rho: share of the steps that must raise the loss for the step size to stay.
    """

    def __init__(
        self, region: Region, start: Tensor, size: float, steps: int, rho: float = 0.75
    ) -> None:
        super().__init__(start, torch.full_like(start[:, :1, :1, :1], size))
        self._region, self._rho = region, rho
        self._checks, self._checked_at, self._step = set(checkpoints(steps)), 0, 0

    @property
    def step_size(self) -> Tensor:
        """Mean over the lanes."""
        return self.size.mean()

    def update(self, points: Tensor, gradient: Tensor, loss: Tensor) -> Tensor:
        step, self.points = self._step, points
        self.observe(loss, gradient, step)
        if step in self._checks:
            self.check(step - self._checked_at)
            self._checked_at = step
        self.move(_MOMENTUM if step else 1.0)
        self._step += 1
        return self.points

    def idle(self) -> Tensor | None:
        return None

    def observe(self, loss: Tensor, gradient: Tensor, step: int) -> None:
        """Take in loss and gradient at the points; NaN is the worst loss."""
        loss = torch.where(loss.isnan(), -torch.inf, loss)
        self.rises = self.rises + (loss > self.loss)
        self.loss, self.gradient = loss, gradient
        better = loss > self.best_loss
        self.best = torch.where(_wide(better), self.points, self.best)
        self.best_gradient = torch.where(_wide(better), gradient, self.best_gradient)
        self.best_loss = torch.where(better, loss, self.best_loss)
        if step == 0:
            self.checked = self.best_loss

    def check(self, gap: int) -> None:
        """At a checkpoint: where the climb stalls, halve the step and go back to the best.

        It stalls if at most a share rho of the ``gap`` steps since the last checkpoint raised
        the loss, each compared with the step before (the first with the starting point), or if
        the best loss has not risen although the step size was left alone there.
        """
        few = self.rises <= self._rho * gap
        flat = ~self.halved & (self.best_loss <= self.checked)
        self.halved = few | flat
        self.size = torch.where(_wide(self.halved), self.size / 2, self.size)
        self.points = torch.where(_wide(self.halved), self.best, self.points)
        self.gradient = torch.where(_wide(self.halved), self.best_gradient, self.gradient)
        self.checked = self.best_loss
        self.rises = torch.zeros_like(self.rises)

    def move(self, momentum: float) -> None:
        """One step with momentum (algorithm 1, lines 7 and 8)."""
        region = self._region
        target = region.project(self.points + self.size * region.steepest(self.gradient))
        moved = self.points + momentum * (target - self.points)
        moved = moved + (1 - momentum) * (self.points - self.before)
        self.before, self.points = self.points, region.project(moved)

    def keep(self, stay: Tensor) -> None:
        """Forget all lanes but those with these indices."""
        self._region.keep(stay)
        for each in dataclasses.fields(self):
            setattr(self, each.name, getattr(self, each.name)[stay])


def climb(
    search: Search,
    pass_: Pass,
    params: ApgdParams,
    objective: Objective,
    goals: Sequence[Tensor],
) -> None:
    """One attempt after the other, each from a random start of its own.

    Args:
        search: the state of the call.
        pass_: whether it finishes what another has begun.
        params: of the attack.
        objective: per-lane loss to climb.
        goals: of each attempt, (N, ...) what the objective gets in place of the labels.
    """
    steps = finishing_steps(params.steps, finishing=pass_.finishing)
    size = 2 * params.eps * (_FINISHING_SIZE if pass_.finishing else 1)

    def attempt(rows: Tensor, numbers: list[int]) -> None:
        lanes = rows.repeat(len(numbers))
        region = region_of(params.norm, search.images[lanes], params.eps)
        if pass_.finishing:
            start = search.verdicts.best[lanes]
        else:
            start = region.start(torch.cat([search.noise(rows, number) for number in numbers]))
        aims = torch.cat([goals[number][rows] for number in numbers])
        rule = Climb(region, start, size, steps, params.rho)
        several = len(numbers) > 1
        climbing = Lanes(search, pass_, lanes, start, objective, aims, repeated=several)
        ascend(search, climbing, rule, steps)

    attempts_in_turn(search, len(goals), attempt)


def _wide(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
