"""APGD on the cross-entropy and on the DLR loss (Croce 2020, arXiv 2003.01690)."""

from __future__ import annotations

from engine.attacks.apgd import APGDSettings, climb
from engine.attacks.losses import objectives
from engine.attacks.losses.dlr import dlr_for
from engine.attacks.losses.objectives import Objective
from engine.attacks.losses.rival_targets import attempts
from engine.attacks.search.search import Search


class APGDCE:
    """APGD on the cross-entropy, by way of the log-odds, which rise with it.

    Args:
        eps: radius of the ball.
        norm: of the ball, "Linf" or "L2".
        steps: gradients per restart.
        restarts: attempts, each on the images that survived the ones before.
        rho: share of the steps that must raise the loss for the step size to stay.
        targets: classes to climb to one by one, in attempts of their own (Gowal 2019); 0: none.
    """

    def __init__(
        self,
        eps: float,
        norm: str = "Linf",
        steps: int = 100,
        restarts: int = 1,
        rho: float = 0.75,
        targets: int = 0,
    ) -> None:
        self._settings = APGDSettings(eps, norm, steps, rho)
        self.restarts, self.targets = restarts, targets

    def __repr__(self) -> str:
        shared = repr(self._settings).removeprefix("APGDSettings(").removesuffix(")")
        tries = f"restarts={self.restarts!r}, targets={self.targets!r}"
        return f"{type(self).__name__}({shared}, {tries})"

    def run(self, search: Search) -> None:
        """Attack the survivors."""
        restarts = 1 if search.finishing else self.restarts
        objective, goals = attempts(search, self._objective, restarts, self.targets)
        climb(search, self._settings, objective, goals)

    def _objective(self, search: Search) -> Objective:
        return objectives.log_odds


class APGDDLR(APGDCE):
    """APGD on the DLR loss; on the margin if there are only two classes."""

    def _objective(self, search: Search) -> Objective:
        return dlr_for(search)
