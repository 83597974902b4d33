"""Targeted FAB: walk along the boundary, closer and closer (Croce 2020, arXiv 1907.02044)."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.dlr import difference, goals_by_rank
from engine.attacks.hyperplane import to_hyperplane
from engine.attacks.region import region_of
from engine.attacks.search import Search

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
        goals = goals_by_rank(search, self.targets)
        for target in range(goals.shape[1]):
            rows = search.survivors()
            if not len(rows):
                return
            self._walk(search, rows, goals[rows, target])

    def _walk(self, search: Search, rows: Tensor, goals: Tensor) -> None:
        first, points = search.step, search.images[rows]
        for number in range(first + 1, first + self.steps + 1):
            look, gradient = search.peek(rows, points, difference, goals)
            images, before = search.images[rows], points
            points = self._step(images, points, look.loss, gradient)
            seen = search.glance(rows, points)
            # Up to the overshoot outside the ball, its nearest point may be a mistake as well.
            hit = seen.wrong & (self._length(points - images) <= self.eta * self.eps)
            if hit.any():
                nearest = region_of(self.norm, images[hit], self.eps).project(points[hit])
                search.judge(rows[hit], nearest, number, difference, goals[hit])
            search.emit(number, seen, float(self._length(points - before).mean()))
            back = images + self.beta * (points - images)
            points = torch.where(seen.wrong.view(-1, 1, 1, 1), back, points)
            alive = ~search.broken[rows]
            rows, goals, points = rows[alive], goals[alive], points[alive]
            if not len(rows):
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
