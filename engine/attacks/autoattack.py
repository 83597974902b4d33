"""AutoAttack, standard version (Croce 2020, arXiv 2003.01690)."""

from __future__ import annotations

from typing import Any

from engine.attacks.apgd_targeted import APGDT
from engine.attacks.apgd_untargeted import APGDCE
from engine.attacks.base import Attack
from engine.attacks.fab import FABT
from engine.attacks.search.search import Search
from engine.attacks.square import Square
from engine.catalog.attacks.auto import ApgdTargetedParams, ApgdUntargetedParams, FabParams
from engine.catalog.attacks.ball import NormParams
from engine.catalog.attacks.gradient_free import PARTS, AutoAttackParams, SquareParams


def parts(ball: NormParams) -> tuple[Attack[Any], ...]:
    """The attacks in their order, at their reference settings, in this ball."""
    eps, norm = ball.eps, ball.norm
    return (
        APGDCE(ApgdUntargetedParams(eps=eps, norm=norm)),
        APGDT(ApgdTargetedParams(eps=eps, norm=norm)),
        FABT(FabParams(eps=eps, norm=norm)),
        Square(SquareParams(eps=eps, norm=norm)),
    )


class AutoAttack(Attack[AutoAttackParams]):
    """Four attacks in a row at their reference settings, each on what survived the ones before."""

    def run(self, search: Search) -> None:
        """Attack the survivors."""
        counts = []
        for name, attack in zip(PARTS, parts(self.params), strict=True):
            before = len(search.survivors())
            if before:
                search.part = name
                attack.run(search)
            counts.append(f"{name} {before - len(search.survivors())}")
        search.part = ""
        search.notes.append(f"Broken by each part{' in bf16' * search.bf16}: {', '.join(counts)}.")
