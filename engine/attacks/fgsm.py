"""FGSM: one sign step of length eps (Goodfellow 2015, arXiv 1412.6572, eq. 1)."""

from __future__ import annotations

from engine.attacks.geometry.ball import linf_bounds
from engine.attacks.search.lanes import Lanes
from engine.attacks.search.loop import SignStep, ascend
from engine.attacks.search.search import Search


class FGSM:
    """One sign step on the cross-entropy, from the clean image.

    Args:
        eps: radius of the Linf ball, in [0, 1].
    """

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def __repr__(self) -> str:
        return f"FGSM(eps={self.eps!r})"

    def run(self, search: Search) -> None:
        """Attack the survivors."""
        rows = search.survivors()
        images = search.images[rows]
        rule = SignStep(self.eps, linf_bounds(images, self.eps))
        ascend(search, Lanes(search, rows, images), rule, steps=1)
