"""Attempts that climb towards one rival class each (Gowal 2019, arXiv 1910.09338)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from engine.attacks.losses.dlr import difference, goals_by_rank
from engine.attacks.losses.objectives import Objective
from engine.attacks.search.search import Search


def attempts(
    search: Search, own: Callable[[Search], Objective], restarts: int, targets: int
) -> tuple[Objective, list[Tensor]]:
    """What to climb, and the goals of each attempt, (N, ...).

    Without targets every restart climbs the attack's own loss. With them every restart has an
    attempt for each target, which climbs that class's logit minus the label's: a loss of all
    classes at once can lead to one that is out of reach while a nearer one is left behind.
    All targets come before the second restart, as the images that survive one are fewer.

    Args:
        search: the state of the call.
        own: gives the loss of the attack.
        restarts: attempts, or attempts per target.
        targets: rivals to try, by their logit on the clean image, the largest first; 0 for none.
    """
    if not targets:
        return own(search), [search.labels] * restarts
    goals = goals_by_rank(search, targets).unbind(dim=1)
    return difference, [goal for _ in range(restarts) for goal in goals]
