"""The L2 attack of Carlini and Wagner (2017, arXiv 1608.04644, section VI.A)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.attacks.base import Attack
from engine.attacks.geometry.minimum_norm import Closest, mistake, spread
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog.attacks.minimum import CwL2Params

_INSIDE = 0.999999
"""Images are drawn in by this factor, so that pixels at 0 and 1 stay finite in tanh space."""
_ENOUGH = 0.9999
"""An image whose loss is not below this share of its last checked one makes no progress."""
_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8
"""Of Adam: decay of the mean, of the mean square, and what keeps the division finite."""


class CWL2(Attack[CwL2Params]):
    """Minimises ``c * max(0, margin + confidence) + ||x' - x||^2`` in tanh space with Adam.

    Each image has its own c: it grows tenfold until an example is found, then it is bisected.
    The closest example of all rounds counts. An image on which none reaches the confidence keeps
    the last point, if that is misclassified at all.
    """

    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the survivors."""
        rows, closest = search.survivors(), Closest(search)
        plain = self.params.confidence > 0 or self.params.form == "as published"
        if not plain:
            closest.begin(rows, "L2")
        const = torch.full(rows.shape, self.params.initial_const, device=rows.device)
        lower, upper = torch.zeros_like(const), torch.full_like(const, torch.inf)
        for _ in range(self.params.binary_search_steps):
            found = self._round(search, closest, rows, const)
            upper = torch.where(found, const, upper)
            lower = torch.where(found, lower, const)
            const = torch.where(upper.isinf(), const * 10, (lower + upper) / 2)
        if not plain:
            closest.tighten(rows, search.step)

    def _round(self, search: Search, closest: Closest, rows: Tensor, const: Tensor) -> Tensor:
        """Minimise for one c per image; (M) bool, where an example was met."""
        first, window = search.step, self._window()
        found = torch.zeros_like(rows, dtype=torch.bool)
        active = torch.arange(len(rows), device=rows.device)
        size, confidence = self.params.step_size, self.params.confidence
        descent = _Descent(search.images[rows], const, confidence, size)
        for step in range(self.params.steps):
            number = first + step + 1
            points = descent.points()
            look, gradient = search.peek(rows[active], points, mistake)
            hit = look.wrong & (look.margin <= -confidence)
            found[active] |= hit
            closest.propose(rows[active], points, hit, number)
            loss = descent.step(points, look.margin, gradient)
            if step == self.params.steps - 1:
                leaving = torch.ones_like(hit)
            elif self.params.abort_early and step % window == 0:
                leaving = descent.stalled(loss)
            else:
                closest.note(step, number, look, size)
                continue
            if leaving.any():
                closest.settle(rows[active[leaving]], points[leaving], number)
                active = active[~leaving]
                descent.keep(~leaving)
            closest.note(step, number, look, size)
            if not len(active):
                break
        search.report()
        return found

    def _window(self) -> int:
        """Steps between two checks of progress: a tenth of them.

        But never fewer than a pixel at 0 or 1 needs to come loose in tanh space, or the loss of
        an image of such pixels would seem to stall before it has begun to move.
        """
        tenth = math.ceil(self.params.steps / 10)
        if self.params.form == "as published":
            return tenth
        loose = math.ceil(math.atanh(_INSIDE) / self.params.step_size)
        return max(tenth, loose)


class _Descent:
    """Adam (Kingma 2015, arXiv 1412.6980, algorithm 1) on the loss of each active image."""

    def __init__(self, images: Tensor, const: Tensor, confidence: float, step_size: float) -> None:
        self._position = torch.atanh((2 * images - 1) * _INSIDE)
        self._base, self._const = self.points(), const
        self._confidence, self._step_size, self._count = confidence, step_size, 0
        self._mean, self._square = torch.zeros_like(images), torch.zeros_like(images)
        self._last = torch.full_like(const, torch.inf)

    def points(self) -> Tensor:
        """The active images as they are now, (M, C, H, W) in [0, 1]."""
        return (torch.tanh(self._position) + 1) / 2

    def step(self, points: Tensor, margin: Tensor, climb: Tensor) -> Tensor:
        """Move once, given the gradient against the margin; the loss (M) that it starts from."""
        delta = points - self._base
        gap = margin + self._confidence
        loss = self._const * gap.clamp(min=0.0) + delta.flatten(1).square().sum(dim=1)
        gradient = 2 * delta - spread(self._const * (gap > 0), delta) * climb
        # The derivative of the points, (1 - tanh^2) / 2, written in the points.
        gradient *= 2 * points * (1 - points)
        self._count += 1
        self._mean = _BETA1 * self._mean + (1 - _BETA1) * gradient
        self._square = _BETA2 * self._square + (1 - _BETA2) * gradient.square()
        mean = self._mean / (1 - _BETA1**self._count)
        scale = (self._square / (1 - _BETA2**self._count)).sqrt() + _TINY
        self._position = self._position - self._step_size * mean / scale
        return loss

    def stalled(self, loss: Tensor) -> Tensor:
        """(M) bool, where the loss made no progress since the last call; NaN makes none."""
        progress = loss <= _ENOUGH * self._last
        self._last = loss
        return ~progress

    def keep(self, mask: Tensor) -> None:
        """Forget the images outside the mask; they left the round."""
        self._position, self._base = self._position[mask], self._base[mask]
        self._mean, self._square = self._mean[mask], self._square[mask]
        self._const, self._last = self._const[mask], self._last[mask]
