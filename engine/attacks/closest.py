"""What the minimum-norm attacks share: the closest example of every image, and annealing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.attacks import losses
from engine.attacks.search import Search

_CLEARLY = 0.99
"""A point this much closer than the verdict's best gets a verdict at once."""
_FINE, _HALVINGS = 1e-3, 20
"""Bisection ends when the distance is known up to this share of it, or after so many forwards."""


class Closest:
    """Takes the examples that an attack believes in to the verdict, closest ones only.

    Such an attack finds a slightly closer example on every other step. A verdict on each would
    cost a forward each time; one verdict at the end could find that the last believed example
    is none on the deployed model. So a point that is clearly closer is judged at once, and of
    the others the closest waits for ``settle``.
    """

    def __init__(self, search: Search) -> None:
        self._search = search
        self._points = search.images.clone()
        self.lengths = search.distance.clone()

    def propose(self, rows: Tensor, points: Tensor, believed: Tensor, step: int) -> None:
        """Take note of the points (M, C, H, W) that are believed (M) to be misclassified."""
        length = self._search.threat.length(self._search.images[rows], points)
        closer = believed & (length < self.lengths[rows])
        chosen = rows[closer]
        self._points[chosen], self.lengths[chosen] = points[closer], length[closer]
        clearly = self.lengths[chosen] < _CLEARLY * self._search.distance[chosen]
        self._judge(chosen[clearly], step)

    def settle(self, rows: Tensor, points: Tensor, step: int) -> None:
        """Judge what waits, and the last points (M, C, H, W) of images that are not broken."""
        self._judge((self.lengths < self._search.distance).nonzero().squeeze(1), step)
        unbroken = ~self._search.broken[rows]
        if unbroken.any():
            self._search.judge(rows[unbroken], points[unbroken], step)

    def tighten(self, rows: Tensor, step: int) -> None:
        """Bisect between the images and their examples, so that these end on the boundary.

        It takes away, for a handful of forwards, what an attack leaves between its example and
        the boundary: an overshoot, or a last step that was too long.
        """
        search = self._search
        rows = rows[search.broken[rows]]
        images, delta = search.images[rows], search.best[rows] - search.images[rows]
        high = torch.ones(len(rows), device=rows.device)
        low = torch.zeros_like(high)
        for _ in range(_HALVINGS):
            active = (high - low > _FINE * high).nonzero().squeeze(1)
            if not len(active):
                return
            middle, known = (low + high)[active] / 2, search.distance[rows[active]]
            points = images[active] + spread(middle, delta) * delta[active]
            search.judge(rows[active], points, step)
            closer = search.distance[rows[active]] < known
            high[active] = torch.where(closer, middle, high[active])
            low[active] = torch.where(closer, low[active], middle)

    def _judge(self, rows: Tensor, step: int) -> None:
        if len(rows):
            self._search.judge(rows, self._points[rows], step)
            # Where the verdict was no, what is believed falls back to what is known.
            self.lengths[rows] = self._search.distance[rows]


def mistake(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest other logit minus the label's: what these attacks climb."""
    return -losses.margin(logits, labels)


def annealed(first: float, last: float, step: int, steps: int) -> float:
    """Half a cosine from ``first`` at step 0 towards ``last`` at ``steps``."""
    return last + (first - last) * (1 + math.cos(math.pi * step / steps)) / 2


def spread(values: Tensor, like: Tensor) -> Tensor:
    """One value per image (N), shaped to multiply images (N, C, H, W)."""
    return values.to(like).view(-1, *[1] * (like.dim() - 1))


def l2_length(delta: Tensor) -> Tensor:
    """(N) Euclidean norms of (N, C, H, W), float32."""
    length: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    return length


def unit(gradient: Tensor) -> Tensor:
    """The gradient at Euclidean length 1 per image; zero stays zero."""
    # Scaled first: squares of tiny entries would vanish in float32.
    top = spread(gradient.abs().flatten(1).amax(dim=1), gradient)
    scaled = torch.where(top > 0, gradient / top, torch.zeros_like(gradient))
    return scaled / spread(l2_length(scaled).clamp(min=1.0), gradient)


def farthest(images: Tensor, norm: str) -> Tensor:
    """(N) distance to the farthest corner of the box, float32."""
    reach = torch.maximum(images, 1 - images)
    return reach.flatten(1).amax(dim=1) if norm == "Linf" else l2_length(reach)
