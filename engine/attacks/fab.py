"""Targeted FAB: walk along the boundary, closer and closer (Croce 2020, arXiv 1907.02044)."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.base import Attack
from engine.attacks.geometry.hyperplane import to_hyperplane
from engine.attacks.geometry.threat import region_of
from engine.attacks.losses.dlr import difference, goals_by_rank
from engine.attacks.search.lanes import Lanes
from engine.attacks.search.loop import attempts_in_turn
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog.attacks.auto import FabParams

_SHORTEST = 1e-8


class FABT(Attack[FabParams]):
    """Minimum-norm search inside; an example counts as soon as it lies in the ball.

    Each target in turn is attacked on the images that survived, from the clean image; nothing
    is drawn at random.
    """

    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the survivors."""
        goals = goals_by_rank(search, self.params.targets)

        def walk(rows: Tensor, numbers: list[int]) -> None:
            towards = torch.cat([goals[rows, number] for number in numbers])
            images = search.images[rows].repeat(len(numbers), 1, 1, 1)
            every, several = rows.repeat(len(numbers)), len(numbers) > 1
            lanes = Lanes(search, pass_, every, images, difference, towards, repeated=several)
            self._walk(search, lanes)

        attempts_in_turn(search, goals.shape[1], walk)

    def _walk(self, search: Search, lanes: Lanes) -> None:
        first, images = search.step, lanes.points
        region = region_of(self.params.norm, images, self.params.eps)
        shortest = torch.full(lanes.rows.shape, torch.inf, device=images.device)
        for step in range(self.params.steps):
            running = lanes.running
            look, gradient = lanes.peek(running)
            points = self._step(images, lanes.points, look.loss, gradient)
            moved = self._length(points - lanes.points).mean()
            seen, number = search.glance(lanes.rows, points, running), first + step + 1
            # Up to the overshoot outside the ball, its nearest point may be a mistake as well.
            length = self._length(points - images)
            hit = seen.wrong & (length <= self.params.eta * self.params.eps) & (length < shortest)
            shortest = torch.where(hit, length, shortest)
            lanes.believe(region.project(points), hit, number)
            back = images + self.params.beta * (points - images)
            lanes.move(torch.where(seen.wrong.view(-1, 1, 1, 1), back, points))
            search.note(number, seen, moved)
            last = step == self.params.steps - 1
            if search.due(step) or last:
                stay = lanes.settle(last=last)
                search.report()
                if stay is not None:
                    images, shortest = images[stay], shortest[stay]
                    region.keep(stay)
                if not len(lanes):
                    return

    def _step(self, images: Tensor, points: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        """Towards the boundary from the point and from the image, mixed (section 2.3)."""
        normal = gradient.flatten(1)
        origin, here = images.flatten(1).double(), points.flatten(1).double()
        # The linearised boundary lies where the loss has risen to 0.
        rise = torch.where(loss.isfinite(), -loss, 0.0).double()
        near = to_hyperplane(here, normal, rise, self.params.norm)
        way = (normal.double() * (here - origin)).sum(dim=1)
        far = to_hyperplane(origin, normal, rise + way, self.params.norm)
        short, long = (self._length(each).clamp(min=_SHORTEST) for each in (near, far))
        alpha = (short / (short + long)).clamp(max=self.params.alpha_max).unsqueeze(1)
        eta = self.params.eta
        mixed = (here + eta * near) * (1 - alpha) + (origin + eta * far) * alpha
        return mixed.float().clamp(0.0, 1.0).view_as(images)

    def _length(self, delta: Tensor) -> Tensor:
        order = torch.inf if self.params.norm == "Linf" else 2
        lengths: Tensor = torch.linalg.vector_norm(delta.flatten(1), ord=order, dim=1)
        return lengths
