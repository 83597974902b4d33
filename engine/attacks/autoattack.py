"""AutoAttack, standard version (Croce 2020, arXiv 2003.01690)."""

from __future__ import annotations

from typing import Any

from engine import catalog
from engine.attacks.apgd_targeted import APGDT
from engine.attacks.apgd_untargeted import APGDCE
from engine.attacks.base import Attack
from engine.attacks.fab import FABT
from engine.attacks.search.notes import Note
from engine.attacks.search.passes import Pass
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

    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the survivors."""
        counts = []
        for name, attack in zip(PARTS, parts(self.params), strict=True):
            before = len(search.survivors())
            idle = pass_.bf16 and "fp32" in catalog.find("attacks", name).traits
            if before and not idle:
                with search.part(name):
                    attack.run(search, pass_)
            counts.append(f"{name} {before - len(search.survivors())}")
        kind = "parts-bf16" if pass_.bf16 else "parts"
        search.notes.append(Note(kind, words=", ".join(counts)))
