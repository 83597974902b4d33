"""APGD on the cross-entropy and on the DLR loss (Croce 2020, arXiv 2003.01690)."""

from __future__ import annotations

from engine.attacks.apgd import climb
from engine.attacks.base import Attack
from engine.attacks.losses import objectives
from engine.attacks.losses.dlr import dlr_for
from engine.attacks.losses.objectives import Objective
from engine.attacks.losses.rival_targets import attempts
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog.attacks.auto import ApgdUntargetedParams


class APGDCE(Attack[ApgdUntargetedParams]):
    """APGD on the cross-entropy, by way of the log-odds, which rise with it."""

    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the survivors."""
        restarts = 1 if pass_.finishing else self.params.restarts
        objective, goals = attempts(search, self._objective, restarts, self.params.targets)
        climb(search, pass_, self.params, objective, goals)

    def _objective(self, search: Search) -> Objective:
        return objectives.log_odds


class APGDDLR(APGDCE):
    """APGD on the DLR loss; on the margin if there are only two classes."""

    def _objective(self, search: Search) -> Objective:
        return dlr_for(search)
