"""Which steps go together in a recipe, and why not where they do not; torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from engine.specs.recipe_rules.defences import refuse_defences
from engine.specs.recipe_rules.pruning import refuse_pruning
from engine.specs.recipe_rules.quantisation import refuse_quantisation
from engine.specs.recipe_rules.step import Refusal, StepLike
from engine.specs.recipe_rules.students import refuse_students

__all__ = ["Refusal", "StepLike", "refuse"]


def refuse(steps: Sequence[StepLike]) -> Refusal | None:
    """The first reason why the steps of a recipe do not go together; None if they do."""
    rules = (refuse_students, refuse_pruning, refuse_quantisation, refuse_defences)
    return next((refusal for rule in rules if (refusal := rule(steps))), None)
