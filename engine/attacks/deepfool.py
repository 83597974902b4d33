"""DeepFool (Moosavi-Dezfooli 2016, arXiv 1511.04599, algorithm 2), L2 and Linf."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.base import Attack
from engine.attacks.geometry.minimum_norm import Closest, spread, unit
from engine.attacks.losses.objectives import Objective
from engine.attacks.search.outputs import Look
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog.attacks.minimum import DeepFoolParams

_NUDGE = 1e-4
"""Added to every step so that it does not end on the boundary itself."""


class DeepFool(Attack[DeepFoolParams]):
    """Steps to the closest of the linearised boundaries until an image is misclassified.

    An image leaves the batch at its first example. It also leaves, unbroken, once no boundary
    has a usable gradient. Of a model with fewer classes than candidates all are considered.
    """

    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the survivors."""
        rows, first = search.survivors(), search.step
        self._walk(search, rows, first)
        Closest(search).tighten(rows, search.step)

    def _walk(self, search: Search, rows: Tensor, first: int) -> None:
        images = points = search.images[rows]
        total = torch.zeros_like(images)
        for step in range(self.params.steps):
            number = first + step + 1
            look, slope = search.peek(rows, points, rival(0))
            self._judge_wrong(search, rows, points, look, number)
            alive = ~search.verdicts.broken[rows]
            if not alive.any():
                search.emit(number, look, 0.0)
                return
            state = rows, points, images, total, look.loss, slope
            rows, points, images, total, gap, gradient = (each[alive] for each in state)
            distance, way = self._nearest(search, rows, points, self._boundary(gap, gradient))
            total = total + spread(distance + _NUDGE, total) * way
            usable = distance.isfinite()
            if not usable.all():
                search.judge(rows[~usable], points[~usable], number, rival(0))
            rows, images, total = rows[usable], images[usable], total[usable]
            points = (images + (1 + self.params.overshoot) * total).clamp(0.0, 1.0)
            if step == self.params.steps - 1:
                search.judge(rows, points, number, rival(0))
            search.emit(number, look, 0.0)
            if not len(rows):
                return

    def _judge_wrong(
        self, search: Search, rows: Tensor, points: Tensor, look: Look, number: int
    ) -> None:
        search.keep_best(rows, points, look.loss, torch.full_like(rows, number))
        wrong = look.wrong
        if wrong.any():
            search.judge(rows[wrong], points[wrong], number, rival(0))

    def _nearest(
        self, search: Search, rows: Tensor, points: Tensor, first: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Distance and way to the closest boundary; ``first`` is that of the strongest rival."""
        nearest, way = first
        for rank in range(1, min(self.params.candidates, search.clean.logits.shape[1]) - 1):
            look, gradient = search.peek(rows, points, rival(rank))
            distance, other = self._boundary(look.loss, gradient)
            nearer = distance < nearest
            nearest = torch.where(nearer, distance, nearest)
            way = torch.where(nearer.view(-1, *[1] * (way.dim() - 1)), other, way)
        return nearest, way

    def _boundary(self, gap: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Distance to a linearised boundary, infinite if there is none, and the way to it."""
        flat = gradient.flatten(1)
        linf = self.params.norm == "Linf"
        slope = flat.abs().sum(dim=1) if linf else flat.norm(dim=1)
        distance = gap.abs() / slope
        usable = (slope > 0) & gap.isfinite()
        # No step needs to be longer than the box is wide.
        widest = 1.0 if linf else flat.shape[1] ** 0.5
        distance = torch.where(usable, distance.clamp(max=widest), torch.inf)
        return distance, gradient.sign() if linf else unit(gradient)


def rival(rank: int) -> Objective:
    """The logit of the rank-th strongest other class (from 0) minus the label's."""

    def objective(logits: Tensor, labels: Tensor) -> Tensor:
        column = labels.unsqueeze(1)
        others = logits.scatter(1, column, -torch.inf).topk(rank + 1, dim=1).values
        return others[:, rank] - logits.gather(1, column).squeeze(1)

    return objective
