"""The step loop that gradient attacks in a ball share."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from engine.attacks import losses
from engine.attacks.losses import Objective
from engine.attacks.search import Search


class Rule(Protocol):
    """How an attack moves; it may hold state for each active image."""

    @property
    def step_size(self) -> float:
        """Length of the coming step, for the telemetry."""

    def update(self, points: Tensor, gradient: Tensor, loss: Tensor) -> Tensor:
        """New points, before the projection into the ball."""

    def keep(self, mask: Tensor) -> None:
        """Forget the images outside the mask; they left the batch."""


class SignStep:
    """Move every pixel by the step size along the sign of the gradient."""

    def __init__(self, step_size: float) -> None:
        self.step_size = step_size

    def update(self, points: Tensor, gradient: Tensor, loss: Tensor) -> Tensor:
        return points + self.step_size * gradient.sign()

    def keep(self, mask: Tensor) -> None:
        """Nothing to forget."""


def ascend(
    search: Search,
    rows: Tensor,
    start: Tensor,
    bounds: tuple[Tensor, Tensor],
    rule: Rule,
    steps: int,
    objective: Objective = losses.log_odds,
) -> None:
    """Climb the objective from the start points, inside the bounds.

    Broken images leave the batch at once. A break at the start point counts for the first
    step. The projection happens outside the graph: a clamp inside would cut the gradient at
    its bounds.

    Args:
        search: the state of the call; receives every point.
        rows: (M) indices of the images to attack.
        start: (M, C, H, W) points inside the bounds.
        bounds: lowest and highest points, (M, C, H, W) each.
        rule: how to move.
        steps: number of gradients.
        objective: per-image loss to climb.
    """
    first, points = search.step, start
    lower, upper = bounds
    for step in range(steps + 1):
        number = first + max(step, 1)
        if step < steps:
            look = search.look(rows, points, number, objective)
        else:
            look = search.judge(rows, points, number, objective)
        alive = ~search.broken[rows]
        gone = not bool(alive.any())
        if step or gone:
            search.emit(number, look, rule.step_size)
        if gone or look.gradient is None:
            return
        rule.keep(alive)
        rows, points, lower, upper = (each[alive] for each in (rows, points, lower, upper))
        moved = rule.update(points, look.gradient[alive], look.loss[alive])
        points = torch.clamp(moved, lower, upper).detach()
