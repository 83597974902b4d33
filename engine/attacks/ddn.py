"""DDN: decoupled direction and norm (Rony 2019, arXiv 1811.09600, algorithm 1)."""

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
from engine.attacks.losses import objectives
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog.attacks.minimum import DdnParams

_FIRST_STEP, _LAST_STEP = 1.0, 0.01
_SMOOTH = 0.75
"""Share of the steps that follow the cross-entropy; the rest follow the margin.

The cross-entropy leads past small bumps, but at the boundary its gradient is a mixture over
all classes, while the closest example lies straight towards one.
"""


class DDN(Attack[DdnParams]):
    """Walks on a sphere around the image that shrinks outside the class and grows inside.

    A step follows the gradient of the cross-entropy (at the end, unless as published, of the
    margin), then the
    perturbation is scaled to the radius of the sphere and cut at the box. Where the gradient
    is exactly zero nothing moves.
    """

    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the survivors."""
        rows, first = search.survivors(), search.step
        images = points = search.images[rows]
        limit = farthest(images, "L2")
        radius = torch.full_like(limit, self.params.init_epsilon)
        closest, plain = Closest(search), self.params.form == "as published"
        if not plain:
            closest.begin(rows, "L2")
        steps, gamma = self.params.steps, self.params.gamma
        for step in range(steps):
            number = first + step + 1
            size = annealed(_FIRST_STEP, _LAST_STEP, step, steps)
            smooth = plain or step < _SMOOTH * steps
            look, gradient = search.peek(rows, points, objectives.log_odds if smooth else mistake)
            closest.propose(rows, points, look.wrong, number)
            factor = torch.where(look.wrong, 1 - gamma, 1 + gamma)
            radius = torch.minimum(radius * factor, limit)
            points = _on_sphere(images, points + size * unit(gradient), radius)
            if step == steps - 1:
                closest.settle(rows, points, number)
                if not plain:
                    closest.tighten(rows, number)
            closest.note(step, number, look, size)
        search.report()


def _on_sphere(images: Tensor, points: Tensor, radius: Tensor) -> Tensor:
    delta = points - images
    length = l2_length(delta)
    factor = torch.where(length > 0, radius / length, torch.zeros_like(length))
    return (images + spread(factor, delta) * delta).clamp(0.0, 1.0)
