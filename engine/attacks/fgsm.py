"""FGSM: one sign step of length eps (Goodfellow 2015, arXiv 1412.6572, eq. 1)."""

from __future__ import annotations

from engine.attacks.ball import linf_bounds
from engine.attacks.loop import SignStep, ascend
from engine.attacks.search import Search


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
        ascend(search, rows, images, linf_bounds(images, self.eps), SignStep(self.eps), steps=1)
