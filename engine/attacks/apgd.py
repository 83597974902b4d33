"""Auto-PGD: a step size that adapts to each image (Croce 2020, arXiv 2003.01690, algorithm 1)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.attacks.losses import Objective
from engine.attacks.region import Region, region_of
from engine.attacks.search import Search

_MOMENTUM = 0.75


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
class Climb:
    """Everything that APGD remembers of each active image.

    Attributes:
        rows: (M) indices of the images in the call.
        goals: (M, ...) what the objective gets in place of the labels.
        points: (M, C, H, W) where the search is; ``before`` where it was one step ago.
        size: (M, 1, 1, 1) step size.
        rises: (M) steps since the last checkpoint that raised the loss.
        checked: (M) best loss at the last checkpoint.
        halved: (M) whether the step size was halved there.
    """

    rows: Tensor
    goals: Tensor
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
        self.loss = torch.full(self.rows.shape, torch.inf, device=self.rows.device)
        self.best_loss = self.checked = -self.loss
        self.rises = torch.zeros_like(self.rows)
        self.halved = torch.ones_like(self.rows, dtype=torch.bool)

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

    def check(self, gap: int, rho: float) -> None:
        """At a checkpoint: where the climb stalls, halve the step and go back to the best.

        It stalls if at most a share rho of the steps since the last checkpoint raised the
        loss, each compared with the step before (the first with the starting point), or if
        the best loss has not risen although the step size was left alone there.
        """
        few = self.rises <= rho * gap
        flat = ~self.halved & (self.best_loss <= self.checked)
        self.halved = few | flat
        self.size = torch.where(_wide(self.halved), self.size / 2, self.size)
        self.points = torch.where(_wide(self.halved), self.best, self.points)
        self.gradient = torch.where(_wide(self.halved), self.best_gradient, self.gradient)
        self.checked = self.best_loss
        self.rises = torch.zeros_like(self.rises)

    def move(self, region: Region, momentum: float) -> None:
        """One step with momentum (algorithm 1, lines 7 and 8)."""
        target = region.project(self.points + self.size * region.steepest(self.gradient))
        moved = self.points + momentum * (target - self.points)
        moved = moved + (1 - momentum) * (self.points - self.before)
        self.before, self.points = self.points, region.project(moved)

    def keep(self, mask: Tensor) -> None:
        """Forget the images outside the mask; they left the batch."""
        for each in dataclasses.fields(self):
            setattr(self, each.name, getattr(self, each.name)[mask])


@dataclass(frozen=True)
class APGDSettings:
    """What the members of the family share.

    Attributes:
        eps: radius of the ball.
        norm: of the ball, "Linf" or "L2".
        steps: gradients per attempt.
        rho: share of the steps that must raise the loss for the step size to stay.
    """

    eps: float
    norm: str
    steps: int
    rho: float


def climb(
    search: Search,
    rows: Tensor,
    goals: Tensor,
    objective: Objective,
    settings: APGDSettings,
    attempt: int,
) -> None:
    """One attempt from a random start; broken images leave at once.

    The count of rising steps at the first checkpoint compares the first step with the starting
    point. The reference implementation compares it with a row that is not filled yet, a loss
    of 0.

    Args:
        search: the state of the call; receives every point.
        rows: (M) indices of the images to attack, M at least 1.
        goals: (M, ...) what the objective gets in place of the labels.
        objective: per-image loss to climb.
        settings: of the attack.
        attempt: number of the random start; another number, another start.
    """
    first = search.step
    region = region_of(settings.norm, search.images[rows], settings.eps)
    start = region.start(search.noise(rows, attempt))
    state = Climb(rows, goals, start, torch.full_like(start[:, :1, :1, :1], 2 * settings.eps))
    checks, checked = set(checkpoints(settings.steps)), 0
    for step in range(settings.steps + 1):
        number, last = first + max(step, 1), step == settings.steps
        visit = search.judge if last else search.look
        look = visit(state.rows, state.points, number, objective, state.goals)
        alive = ~search.broken[state.rows]
        gone = not bool(alive.any())
        if step or gone:
            search.emit(number, look, float(state.size.mean()))
        if gone or look.gradient is None:
            return
        state.keep(alive)
        region.keep(alive)
        state.observe(look.loss[alive], look.gradient[alive], step)
        if step in checks:
            state.check(step - checked, settings.rho)
            checked = step
        state.move(region, _MOMENTUM if step else 1.0)


def _wide(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
