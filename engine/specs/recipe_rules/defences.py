"""Where what stands in front of a network can stand in a recipe; torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from engine.specs.recipe_rules.step import Refusal, StepLike


def refuse_defences(steps: Sequence[StepLike]) -> Refusal | None:
    """The first reason why steps do not go with those in front of the network; None if all do."""
    front = ""
    for step in steps:
        if front and step.settings.cuts:
            return (
                f"{step.name} cannot follow {front}, because channels are followed through the "
                "network alone, not through what stands in front of it",
                f"Put {step.name} before {front}: the variant is the same.",
            )
        if step.settings.in_front:
            front = step.name
    return None
