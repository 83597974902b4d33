"""Which examples count: those that other forwards of the deployed model get wrong as well."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from engine.attacks.losses import objectives
from engine.attacks.losses.logit_scale import span
from engine.attacks.search.batching import bucket
from engine.evaluation.guard import RandomState, random_state

Forward = Callable[[Tensor], Tensor]
"""Points (M, C, H, W) to logits (M, K), float32."""

ROUNDING = 8 * 2.0**-23
"""Share of the largest logit by which a forward in another batch may differ: a few last bits."""

LAST_BIT = 2.0**-23

DRAWS = 4
"""Forwards of a random model that must all get an example wrong before a search ends with it."""


class Confirmation:
    """A second look at points that one forward got wrong; it is no query of the attack.

    The batch that a point is in and its layout in memory decide how a device adds, and so the
    last bits of a logit. A point on the boundary itself can be misclassified in one batch and
    not in the next, so an example must be wrong in two unlike batches, and by more than
    rounding. Of a random model every forward is another draw: there the point must be wrong in
    ``DRAWS`` more of them, so that no search ends with the first lucky one.

    Args:
        forward: of the deployed model, exact.
        images: (M, C, H, W) of which two forwards show whether the model is random.

    Attributes:
        random: whether it is. One whose own generator gives few other answers may only be found
            out later, by what it does with an example.
    """

    def __init__(self, forward: Forward, images: Tensor) -> None:
        self._forward = forward
        self.random = is_random(lambda: forward(images))

    def upholds(self, points: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """(M) bool, which of these misclassified points, M >= 1, count as examples.

        Args:
            points: (M, C, H, W) float32.
            logits: (M, K) of the forward that got them wrong.
            labels: (M) int64.
        """
        if self.random:
            draws = [self._forward(points) for _ in range(DRAWS)]
            wrong = [objectives.margin(draw, labels) < 0 for draw in draws]
            return torch.stack(wrong).all(dim=0)
        again = self._otherwise(points)
        upheld = _clearly_wrong(logits, labels) & _clearly_wrong(again, labels)
        if not upheld.all():
            self.random = is_random(lambda: self._forward(points[~upheld]))
        return upheld

    def _otherwise(self, points: Tensor) -> Tensor:
        """Logits of the points in a batch of another size, another order and another layout."""
        more = bucket(len(points) + 1, 2) - len(points)
        batch = torch.cat([points, points[:1].expand(more, -1, -1, -1)]).flip(0)
        batch = batch.contiguous(memory_format=torch.channels_last)
        return self._forward(batch).flip(0)[: len(points)]


def _clearly_wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """(M) bool; where a logit that decides is not finite, it is not."""
    size = torch.where(logits.isfinite(), logits, 0.0).abs().amax(dim=1)
    # Whatever is added to all logits at the very end rounds them once, to its last bit.
    apart = torch.minimum(ROUNDING * size, ROUNDING * span(logits) + LAST_BIT * size)
    return objectives.margin(logits, labels) < -apart


def is_random(forward: Callable[[], Tensor]) -> bool:
    """Whether two forwards of the same images differ, or draw from a global generator."""
    before = random_state()
    first = forward()
    drawn = not _same(before, random_state())
    return drawn or not torch.allclose(first, forward(), rtol=1e-4, atol=1e-5, equal_nan=True)


def _same(one: RandomState, other: RandomState) -> bool:
    """Whether no generator has moved."""
    tensors = zip((one[0], *one[1]), (other[0], *other[1]), strict=True)
    numpy = zip(one[2], other[2], strict=True)
    return (
        all(torch.equal(*pair) for pair in tensors)
        and all(np.array_equal(*pair) for pair in numpy)
        and one[3] == other[3]
    )
