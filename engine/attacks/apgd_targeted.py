"""Targeted APGD on the targeted DLR loss (Croce 2020, arXiv 2003.01690, section 4)."""

from __future__ import annotations

from engine.attacks.apgd import APGDSettings, climb
from engine.attacks.losses.dlr import goals_by_rank, targeted_dlr_for
from engine.attacks.search.search import Search


class APGDT:
    """APGD towards one class after the other, each on the images that survived.

    Fewer than four classes: on the plain difference of the two logits.

    Args:
        eps: radius of the ball.
        norm: of the ball, "Linf" or "L2".
        steps: gradients per target and restart.
        targets: classes to try, from the largest logit of the clean image down.
        restarts: attempts per target.
        rho: share of the steps that must raise the loss for the step size to stay.
    """

    def __init__(
        self,
        eps: float,
        norm: str = "Linf",
        steps: int = 100,
        targets: int = 9,
        restarts: int = 1,
        rho: float = 0.75,
    ) -> None:
        self._settings = APGDSettings(eps, norm, steps, rho)
        self.targets, self.restarts = targets, restarts

    def __repr__(self) -> str:
        shared = repr(self._settings).removeprefix("APGDSettings(").removesuffix(")")
        return f"APGDT({shared}, targets={self.targets!r}, restarts={self.restarts!r})"

    def run(self, search: Search) -> None:
        """Attack the survivors."""
        attempts = 1 if search.finishing else self.restarts
        goals = goals_by_rank(search, self.targets).unbind(dim=1)
        each = [goal for goal in goals for _ in range(attempts)]
        climb(search, self._settings, targeted_dlr_for(search), each)
