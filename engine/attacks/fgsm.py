"""FGSM: one sign step of length eps (Goodfellow 2015, arXiv 1412.6572, eq. 1)."""

from __future__ import annotations

from engine.attacks.base import Attack
from engine.attacks.geometry.ball import linf_bounds
from engine.attacks.search.lanes import Lanes
from engine.attacks.search.loop import SignStep, ascend
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog.attacks.ball import FgsmParams


class FGSM(Attack[FgsmParams]):
    """One sign step on the cross-entropy, from the clean image."""

    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the survivors."""
        rows = search.survivors()
        images = search.images[rows]
        rule = SignStep(self.params.eps, linf_bounds(images, self.params.eps))
        ascend(search, Lanes(search, pass_, rows, images), rule, steps=1)
