"""Where a new student can stand in a recipe; torch-free."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from engine.catalog.models.architectures import SAME
from engine.specs.recipe_rules.step import Refusal, StepLike


def refuse_students(steps: Sequence[StepLike]) -> Refusal | None:
    """A new student behind other steps would throw away what they did; None if there is none."""
    for before, step in itertools.pairwise(steps):
        student = step.params.get("student", SAME)
        if student != SAME:
            return (
                f"{step.name} with student {student!r} cannot follow {before.label}, because a "
                "new student starts from fresh weights and throws away what was done before",
                f"Put {step.name} first, or set student to {SAME!r}.",
            )
    return None
