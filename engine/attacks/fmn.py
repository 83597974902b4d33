"""FMN: fast minimum norm (Pintor 2021, arXiv 2102.12827, algorithm 1), L2 and Linf."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.base import Attack
from engine.attacks.geometry.minimum_norm import (
    Closest,
    annealed,
    farthest,
    l2_length,
    mistake,
    spread,
    unit,
)
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog.attacks.minimum import FmnParams

_LAST_GAMMA = 0.001


class FMN(Attack[FmnParams]):
    """Climbs the margin inside a ball whose radius is set by the distance to the boundary.

    Until an image is misclassified its radius is a linear estimate of that distance; after
    that it shrinks outside the class and grows inside, by an annealed share.
    """

    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the survivors."""
        rows, first = search.survivors(), search.step
        images = points = search.images[rows]
        limit = farthest(images, self.params.norm)
        radius, found = torch.zeros_like(limit), torch.zeros_like(rows, dtype=torch.bool)
        closest, plain = Closest(search), self.params.form == "as published"
        if not plain:
            closest.begin(rows, self.params.norm)
        steps, longest = self.params.steps, self.params.max_step_size
        last = self.params.min_step_size
        last = longest / 100 if last is None else last
        for step in range(steps):
            number = first + step + 1
            size = annealed(longest, last, step, steps)
            look, gradient = search.peek(rows, points, mistake)
            closest.propose(rows, points, look.wrong, number)
            found |= look.wrong
            gamma = annealed(self.params.gamma, _LAST_GAMMA, step, steps)
            shrunk = torch.minimum(radius * (1 - gamma), closest.lengths[rows].to(radius))
            estimate = self._length(points - images) + self._to_boundary(look.margin, gradient)
            if not plain:
                # A little more, and ever more: on the boundary itself nothing is misclassified,
                # and where the box cuts the perturbation the estimate falls short.
                estimate = torch.maximum(estimate, radius) * (1 + gamma)
            radius = torch.where(
                look.wrong, shrunk, torch.where(found, radius * (1 + gamma), estimate)
            ).minimum(limit)
            moved = points + size * unit(gradient)
            points = (images + self._within(moved - images, radius)).clamp(0.0, 1.0)
            if step == steps - 1:
                closest.settle(rows, points, number)
                if not plain:
                    closest.tighten(rows, number)
            closest.note(step, number, look, size)
        search.report()

    def _length(self, delta: Tensor) -> Tensor:
        linf = self.params.norm == "Linf"
        return delta.flatten(1).abs().amax(dim=1) if linf else l2_length(delta)

    def _to_boundary(self, margin: Tensor, gradient: Tensor) -> Tensor:
        """Margin over the gradient's dual norm, infinite where the gradient is zero."""
        flat = gradient.flatten(1)
        slope = flat.abs().sum(dim=1) if self.params.norm == "Linf" else flat.norm(dim=1)
        estimate = margin.abs() / slope
        return torch.where(estimate.isnan(), torch.inf, estimate)

    def _within(self, delta: Tensor, radius: Tensor) -> Tensor:
        """The perturbations, projected into the ball."""
        limit = spread(radius, delta)
        if self.params.norm == "Linf":
            return torch.maximum(torch.minimum(delta, limit), -limit)
        return delta * (limit / spread(l2_length(delta), delta)).clamp(max=1.0).nan_to_num(1.0)
