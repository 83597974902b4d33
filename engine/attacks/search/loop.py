"""The step loop that gradient attacks in a ball share, and its simplest rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from engine.attacks.search.lanes import Lanes
from engine.attacks.search.search import Search

_FINISHING_SHARE = 0.125
"""Share of the steps that finish in fp32 what a search in bf16 has begun."""
_ROOM_ON_CPU = 64
"""Lanes up to which a pass of a small network on a CPU costs mostly its overhead."""
_WINDOW = 8
"""Longest period of a cycle that is detected."""


class Rule(Protocol):
    """How an attack moves; it may hold state for each lane."""

    @property
    def step_size(self) -> float | Tensor:
        """Length of the coming step, for the telemetry."""

    def update(self, points: Tensor, gradient: Tensor, loss: Tensor) -> Tensor:
        """New points, inside the ball and the box."""

    def idle(self) -> Tensor | None:
        """(M) bool, lanes that have nothing more to find; None if that never happens."""

    def keep(self, stay: Tensor) -> None:
        """Forget all lanes but those with these indices."""


class SignStep:
    """Move every pixel by the step size along the sign of the gradient.

    Such a walk depends on nothing but its point. So once it meets a point again, with the same
    loss, it will go round for ever, and the lane is idle.

    Args:
        step_size: length of a step.
        bounds: lowest and highest points, (M, C, H, W) each.
    """

    def __init__(self, step_size: float, bounds: tuple[Tensor, Tensor]) -> None:
        self.step_size = step_size
        self._lower, self._upper = bounds
        self._anchor: tuple[Tensor, Tensor] | None = None
        self._idle: Tensor | None = None
        self._count = 0

    def update(self, points: Tensor, gradient: Tensor, loss: Tensor) -> Tensor:
        if self._anchor is not None:
            anchor, before = self._anchor
            # A random model gives another loss, and then another step may follow.
            self._idle = (points == anchor).flatten(1).all(dim=1) & (loss == before)
        if self._count % _WINDOW == 0:
            self._anchor = points, loss
        self._count += 1
        # The projection is outside the graph: a clamp inside would cut the gradient at its bounds.
        return torch.clamp(
            points.add(gradient.sign(), alpha=self.step_size), self._lower, self._upper
        )

    def idle(self) -> Tensor | None:
        return self._idle

    def keep(self, stay: Tensor) -> None:
        self._lower, self._upper = self._lower[stay], self._upper[stay]
        if self._anchor is not None:
            self._anchor = self._anchor[0][stay], self._anchor[1][stay]
        if self._idle is not None:
            self._idle = self._idle[stay]


def ascend(search: Search, lanes: Lanes, rule: Rule, steps: int) -> None:
    """Climb from the points of the lanes; images that broke leave when the search is due.

    A break at the start point counts for the first step.

    Args:
        search: the state of the call.
        lanes: where to start, and what to climb.
        rule: how to move.
        steps: number of gradients.
    """
    first = search.step
    for step in range(steps):
        number = first + max(step, 1)
        running = lanes.running
        look, gradient = lanes.look(number, running)
        loss, last = look.loss, step == steps - 1
        if step:
            search.note(number, look, rule.step_size, among=running)
        if search.due(step) or last:
            stay = lanes.settle(last=last)
            if not step and stay is not None and not len(stay):
                search.note(number, look, rule.step_size)
            if search.telemetry.due:
                search.report()
            if stay is not None:
                rule.keep(stay)
                gradient, loss = gradient[stay], loss[stay]
            if not len(lanes):
                return
        moved = rule.update(lanes.points, gradient, loss)
        lanes.move(moved, rule.idle())
    number = first + steps
    search.emit(number, lanes.finish(number), rule.step_size)


def finishing_steps(steps: int, *, finishing: bool) -> int:
    """Number of gradients: all of them, or an eighth if only the finish is left to do."""
    return math.ceil(_FINISHING_SHARE * steps) if finishing else steps


def attempts_in_turn(
    search: Search, attempts: int, attempt: Callable[[Tensor, list[int]], None]
) -> None:
    """Attempts one after the other, each on the images that survived the ones before.

    Where few images are left, several attempts share a batch.

    Args:
        search: the state of the call.
        attempts: how many.
        attempt: gets the indices (R) of the images and the numbers of the attempts to make on
            each of them; its lanes are the images for the first number, for the second...
    """
    count = len(search.labels)
    room = min(count, _ROOM_ON_CPU) if search.stride == 1 else count
    done = 0
    while done < attempts:
        rows = search.survivors()
        if not len(rows):
            return
        together = min(max(room // len(rows), 1), attempts - done)
        attempt(rows, list(range(done, done + together)))
        done += together
