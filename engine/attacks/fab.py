"""Targeted FAB: walk along the boundary, closer and closer (Croce 2020, arXiv 1907.02044)."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.geometry.hyperplane import to_hyperplane
from engine.attacks.geometry.threat import region_of
from engine.attacks.losses.dlr import difference, goals_by_rank
from engine.attacks.search.lanes import Lanes
from engine.attacks.search.loop import attempts_in_turn
from engine.attacks.search.search import Search

_SHORTEST = 1e-8


class FABT:
    """Minimum-norm search inside; an example counts as soon as it lies in the ball.

    Each target in turn is attacked on the images that survived, from the clean image; nothing
    is drawn at random.

    Args:
        eps: radius of the ball.
        norm: of the ball, "Linf" or "L2".
        steps: gradients per target.
        targets: classes to try, from the largest logit of the clean image down.
        alpha_max: largest weight of the way from the clean image.
        eta: overshoot beyond the linearised boundary.
        beta: an image that was broken outside the ball goes back to this share of its way.
    """

    def __init__(
        self,
        eps: float,
        norm: str = "Linf",
        steps: int = 100,
        targets: int = 9,
        alpha_max: float = 0.1,
        eta: float = 1.05,
        beta: float = 0.9,
    ) -> None:
        self.eps, self.norm, self.steps, self.targets = eps, norm, steps, targets
        self.alpha_max, self.eta, self.beta = alpha_max, eta, beta

    def __repr__(self) -> str:
        return (
            f"FABT(eps={self.eps!r}, norm={self.norm!r}, steps={self.steps!r}, "
            f"targets={self.targets!r}, alpha_max={self.alpha_max!r}, eta={self.eta!r}, "
            f"beta={self.beta!r})"
        )

    def run(self, search: Search) -> None:
        """Attack the survivors."""
        # To walk along the boundary, the search has to tell its sides apart in fp32.
        if search.bf16:
            return
        goals = goals_by_rank(search, self.targets)

        def walk(rows: Tensor, numbers: list[int]) -> None:
            towards = torch.cat([goals[rows, number] for number in numbers])
            images = search.images[rows].repeat(len(numbers), 1, 1, 1)
            lanes = Lanes(search, rows.repeat(len(numbers)), images, difference, towards)
            self._walk(search, lanes)

        attempts_in_turn(search, goals.shape[1], walk)

    def _walk(self, search: Search, lanes: Lanes) -> None:
        first, images = search.step, lanes.points
        region = region_of(self.norm, images, self.eps)
        shortest = torch.full(lanes.rows.shape, torch.inf, device=images.device)
        for step in range(self.steps):
            running = lanes.running
            look, gradient = lanes.peek(running)
            points = self._step(images, lanes.points, look.loss, gradient)
            moved = self._length(points - lanes.points).mean()
            seen, number = search.glance(lanes.rows, points, running), first + step + 1
            # Up to the overshoot outside the ball, its nearest point may be a mistake as well.
            length = self._length(points - images)
            hit = seen.wrong & (length <= self.eta * self.eps) & (length < shortest)
            shortest = torch.where(hit, length, shortest)
            lanes.believe(region.project(points), hit, number)
            back = images + self.beta * (points - images)
            lanes.move(torch.where(seen.wrong.view(-1, 1, 1, 1), back, points))
            search.note(number, seen, moved)
            last = step == self.steps - 1
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
        near = to_hyperplane(here, normal, rise, self.norm)
        way = (normal.double() * (here - origin)).sum(dim=1)
        far = to_hyperplane(origin, normal, rise + way, self.norm)
        short, long = (self._length(each).clamp(min=_SHORTEST) for each in (near, far))
        alpha = (short / (short + long)).clamp(max=self.alpha_max).unsqueeze(1)
        mixed = (here + self.eta * near) * (1 - alpha) + (origin + self.eta * far) * alpha
        return mixed.float().clamp(0.0, 1.0).view_as(images)

    def _length(self, delta: Tensor) -> Tensor:
        order = torch.inf if self.norm == "Linf" else 2
        lengths: Tensor = torch.linalg.vector_norm(delta.flatten(1), ord=order, dim=1)
        return lengths
