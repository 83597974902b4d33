"""The worst case as what a run does: several attacks in turn, each on what the ones before left.

It is a mode of a study and no method to choose, so it is found by its id and offered nowhere.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from engine.catalog.attacks.ball import NormParams
from engine.catalog.entry import AttackEntry

WORST_CASE = "worst-case"
"""The mode of a study, and the id of what its runs do."""


class WorstCaseParams(NormParams):
    """A threat model, and who attacks in it."""

    attacks: tuple[dict[str, Any], ...] = Field(
        min_length=1,
        title="attacks",
        description="The attacks, as specs have them; the cheapest goes first.",
    )

    def label(self, title: str) -> str:
        count = len(self.attacks)
        return super().label(f"{title} of {count} attack{'' if count == 1 else 's'}")


ENTRY = AttackEntry(
    id=WORST_CASE,
    title="Worst case",
    family="ensemble",
    summary="Known examples, then several attacks from cheap to dear, each on what is left.",
    paper="",
    formula="the union of what the known examples and the attacks break",
    params=WorstCaseParams,
    norm="Linf",
    traits=frozenset({"gradient", "seeded", "keeps best"}),
    kinds=frozenset(),
)
