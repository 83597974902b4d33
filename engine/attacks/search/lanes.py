"""The points under attack: each image in one lane, or in several with different goals or starts.

A lane keeps what it finds to itself, on the device, until ``settle`` synchronises.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from engine.attacks.losses import objectives
from engine.attacks.losses.objectives import Objective
from engine.attacks.search.batching import bucket
from engine.attacks.search.outputs import Look
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search

_SIZES = 8
"""Batch sizes per doubling."""


@dataclass
class _Found:
    """What each lane has found; all tensors have M entries.

    Attributes:
        rows: the image.
        goals: what the objective gets in place of the label.
        points: (M, C, H, W) where the lane is.
        best, loss, step: point with the highest loss, that loss, and its step.
        seems: whether the attack view misclassified a point that has no verdict yet.
        example, since: that point and its step.
        idle: whether the lane has nothing more to find.
    """

    rows: Tensor
    goals: Tensor
    points: Tensor
    best: Tensor
    loss: Tensor
    step: Tensor
    seems: Tensor
    example: Tensor
    since: Tensor
    idle: Tensor


class Lanes:
    """A batch of lanes on the way through one attempt.

    Args:
        search: the state of the call; gets every verdict.
        pass_: says in which arithmetic gradients are taken.
        rows: (M) indices of the images; more than once only if they are ``repeated``.
        points: (M, C, H, W) where the lanes start.
        objective: per-lane loss to climb.
        goals: (M, ...) what the objective gets in place of the labels.
        repeated: images may be there more than once.
    """

    def __init__(
        self,
        search: Search,
        pass_: Pass,
        rows: Tensor,
        points: Tensor,
        objective: Objective = objectives.log_odds,
        goals: Tensor | None = None,
        *,
        repeated: bool = False,
    ) -> None:
        self._search, self._pass, self._objective = search, pass_, objective
        self._repeated = repeated
        no, zero = torch.zeros_like(rows, dtype=torch.bool), torch.zeros_like(rows)
        low = torch.full(rows.shape, -torch.inf, device=rows.device)
        goals = search.labels[rows] if goals is None else goals
        self._found = _Found(rows, goals, points, points, low, zero, no, points, zero, no)

    def __len__(self) -> int:
        return len(self._found.rows)

    @property
    def points(self) -> Tensor:
        """(M, C, H, W) where the lanes are."""
        return self._found.points

    @property
    def rows(self) -> Tensor:
        """(M) indices of the images."""
        return self._found.rows

    @property
    def running(self) -> Tensor:
        """(M) bool, lanes that still search; the others wait to leave or only fill the batch."""
        at = self._found
        return ~(at.seems | at.idle | self._search.verdicts.broken[at.rows])

    def peek(self, among: Tensor) -> tuple[Look, Tensor]:
        """Loss and gradient at the points; ``among`` (M) bool are those that count as queries."""
        at = self._found
        search, bf16 = self._search, self._pass.bf16
        return search.peek(at.rows, at.points, self._objective, at.goals, among, bf16=bf16)

    def look(self, step: int, among: Tensor) -> tuple[Look, Tensor]:
        """As ``peek``; remembers the best points and those misclassified."""
        at = self._found
        look, gradient = self.peek(among)
        better = look.loss > at.loss
        at.best = torch.where(_wide(better, at.points), at.points, at.best)
        at.loss = torch.where(better, look.loss, at.loss)
        at.step = torch.where(better, step, at.step)
        self.believe(at.points, look.wrong & ~at.seems, step)
        return look, gradient

    def believe(self, points: Tensor, wrong: Tensor, step: int) -> None:
        """Keep the points (M, C, H, W) that seem to be examples (M) until the next ``settle``.

        Of several points of one lane the last is kept.
        """
        at = self._found
        at.example = torch.where(_wide(wrong, points), points, at.example)
        at.since = torch.where(wrong, step, at.since)
        at.seems = at.seems | wrong

    def move(self, points: Tensor, idle: Tensor | None = None) -> None:
        """Go to new points; lanes that are ``idle`` (M) leave at the next ``settle``."""
        self._found.points = points
        if idle is not None:
            self._found.idle = self._found.idle | idle

    def settle(self, *, last: bool = False) -> Tensor | None:
        """Judge what seems broken and drop the lanes that are done.

        The batch shrinks to the next of a few sizes; lanes that are done fill it up. Until it
        can shrink, nothing happens, unless this is the ``last`` chance.

        Returns:
            Indices of the lanes that stay; None if all do.
        """
        if not last and self._size(self.running) == len(self):
            return None
        at = self._found
        waiting = (at.seems & ~self._search.verdicts.broken[at.rows]).nonzero().squeeze(1)
        if len(waiting):
            self._search.judge(
                at.rows[waiting],
                at.example[waiting],
                at.since[waiting],
                self._objective,
                at.goals[waiting],
                repeated=self._repeated,
            )
            # No example after all: the lane goes on.
            at.seems = at.seems & self._search.verdicts.broken[at.rows]
        size = self._size(self.running)
        if size == len(self):
            return None
        # Those that still run come first, in their order.
        stay = (~self.running).long().argsort(stable=True)[:size]
        self._hand_over()
        self._keep(stay)
        return stay

    def finish(self, step: int) -> Look:
        """Verdicts on the last points; the best ones go to the search."""
        self._hand_over()
        at = self._found
        on = (~self._search.verdicts.broken[at.rows]).nonzero().squeeze(1)
        given = at.rows[on], at.points[on], step, self._objective, at.goals[on]
        return self._search.judge(*given, repeated=self._repeated)

    def _size(self, running: Tensor) -> int:
        """Lanes in a batch for so many that run."""
        count = int(running.sum())
        return min(bucket(count, _SIZES), len(self)) if count else 0

    def _hand_over(self) -> None:
        at = self._found
        self._search.keep_best(at.rows, at.best, at.loss, at.step, repeated=self._repeated)

    def _keep(self, stay: Tensor) -> None:
        for each in fields(self._found):
            setattr(self._found, each.name, getattr(self._found, each.name)[stay])


def _wide(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))
