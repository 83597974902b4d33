"""What the minimum-norm attacks share: the closest example of every image, and annealing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.attacks.geometry.hyperplane import to_hyperplane
from engine.attacks.losses import objectives
from engine.attacks.losses.dlr import difference
from engine.attacks.search.outputs import Look
from engine.attacks.search.search import Search

_CLEARLY = 0.99
"""A point this much closer than the verdict's best gets a verdict at once."""
_RIVALS, _BEYOND = 9, 1.01
"""Classes whose linearised boundary is tried, and how far beyond it."""
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
        self.lengths = search.verdicts.distance.clone()
        self._steps = torch.zeros_like(search.labels)

    def begin(self, rows: Tensor, norm: str) -> None:
        """Propose the closest points that a linear model of the classes would give.

        On an affine model they are the answer, so that the search, which follows one boundary,
        cannot end at a farther one. Costs a gradient and a forward for each of the strongest
        rivals on the clean image.
        """
        search = self._search
        images = search.images[rows]
        labels, logits = search.labels[rows], search.clean.logits[rows]
        others = logits.scatter(1, labels[:, None], -torch.inf).argsort(dim=1, descending=True)
        for rank in range(min(_RIVALS, logits.shape[1] - 1)):
            goals = torch.stack([labels, others[:, rank]], dim=1)
            look, gradient = search.peek(rows, images, difference, goals)
            rise = torch.where(look.loss.isfinite(), -look.loss, 0.0)
            delta = to_hyperplane(images.flatten(1), gradient.flatten(1), rise, norm)
            points = (images.flatten(1) + _BEYOND * delta).float().clamp(0.0, 1.0)
            points = points.view_as(images)
            self.propose(rows, points, search.glance(rows, points).wrong, search.step + 1)

    def propose(self, rows: Tensor, points: Tensor, believed: Tensor, step: int) -> None:
        """Take note of the points (M, C, H, W) that are believed (M) to be misclassified."""
        length = self._search.threat.length(self._search.images[rows], points)
        closer = believed & (length < self.lengths[rows])
        self._points[rows] = torch.where(spread(closer, points) > 0, points, self._points[rows])
        self.lengths[rows] = torch.where(closer, length, self.lengths[rows])
        self._steps[rows] = torch.where(closer, step, self._steps[rows])

    def note(self, step: int, number: int, look: Look, size: float) -> None:
        """Close a step; when the search is due, judge the examples that are clearly closer.

        ``step`` counts from 0 in the attempt, ``number`` is that of the curve.
        """
        self._search.note(number, look, size)
        if self._search.due(step):
            self.judge_clearly_closer()
            self._search.report()

    def judge_clearly_closer(self) -> None:
        """Verdicts on the examples that would be clearly closer than those that have one."""
        clearly = self.lengths < _CLEARLY * self._search.verdicts.distance
        self._judge(clearly.nonzero().squeeze(1))

    def settle(self, rows: Tensor, points: Tensor, step: int) -> None:
        """Judge what waits, and the last points (M, C, H, W) of images that are not broken."""
        self._judge((self.lengths < self._search.verdicts.distance).nonzero().squeeze(1))
        unbroken = ~self._search.verdicts.broken[rows]
        if unbroken.any():
            self._search.judge(rows[unbroken], points[unbroken], step)

    def tighten(self, rows: Tensor, step: int) -> None:
        """Bisect between the images and their examples, so that these end on the boundary.

        It takes away, for a handful of forwards, what an attack leaves between its example and
        the boundary: an overshoot, or a last step that was too long.
        """
        search = self._search
        rows = rows[search.verdicts.broken[rows]]
        images, delta = search.images[rows], search.verdicts.best[rows] - search.images[rows]
        high = torch.ones(len(rows), device=rows.device)
        low = torch.zeros_like(high)
        for _ in range(_HALVINGS):
            active = (high - low > _FINE * high).nonzero().squeeze(1)
            if not len(active):
                return
            middle, known = (low + high)[active] / 2, search.verdicts.distance[rows[active]]
            points = images[active] + spread(middle, delta) * delta[active]
            search.judge(rows[active], points, step)
            closer = search.verdicts.distance[rows[active]] < known
            high[active] = torch.where(closer, middle, high[active])
            low[active] = torch.where(closer, low[active], middle)

    def _judge(self, rows: Tensor) -> None:
        if len(rows):
            self._search.judge(rows, self._points[rows], self._steps[rows])
            # Where the verdict was no, what is believed falls back to what is known.
            self.lengths[rows] = self._search.verdicts.distance[rows]


def mistake(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest other logit minus the label's: what these attacks climb."""
    return -objectives.margin(logits, labels)


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
