"""Targeted APGD on the targeted DLR loss (Croce 2020, arXiv 2003.01690, section 4)."""

from __future__ import annotations

from engine.attacks.apgd import climb
from engine.attacks.base import Attack
from engine.attacks.losses.dlr import goals_by_rank, targeted_dlr_for
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog.attacks.auto import ApgdTargetedParams


class APGDT(Attack[ApgdTargetedParams]):
    """APGD towards one class after the other, each on the images that survived.

    Fewer than four classes: on the plain difference of the two logits.
    """

    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the survivors."""
        attempts = 1 if pass_.finishing else self.params.restarts
        goals = goals_by_rank(search, self.params.targets).unbind(dim=1)
        each = [goal for goal in goals for _ in range(attempts)]
        climb(search, pass_, self.params, targeted_dlr_for(search), each)
