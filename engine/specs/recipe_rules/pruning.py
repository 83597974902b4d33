"""Which pruning steps go together in a recipe, and why not where they do not; torch-free."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from engine import catalog
from engine.specs.recipe_rules.step import Refusal, StepLike


def refuse_pruning(steps: Sequence[StepLike]) -> Refusal | None:
    """The first reason why the pruning steps of a recipe do not go together; None if they do."""
    return _channel_after_mask(steps) or _nothing_left_to_do(steps)


def _channel_after_mask(steps: Sequence[StepLike]) -> Refusal | None:
    """Channels are cut out of plain weights; what hangs on a weight would lose its place."""
    earlier = ""
    for step in steps:
        if step.settings.cuts and earlier:
            return (
                f"{step.name} cannot follow {earlier}, because masks and levels would lose their "
                "place on the weights that it cuts",
                f"Put {step.name} before {earlier}.",
            )
        family = catalog.find("compressions", step.name).family
        if not earlier and not step.settings.cuts and family in ("pruning", "quantisation"):
            earlier = step.name
    return None


def _nothing_left_to_do(steps: Sequence[StepLike]) -> Refusal | None:
    """Of two pruning steps in a row the second must ask for more."""
    for before, step in itertools.pairwise(steps):
        if step.settings.removes_nothing_after(before.settings):
            return (
                f"{step.label} after {before.label} removes nothing, because it asks for no more",
                "Leave one of the two out, or prune harder in the second.",
            )
    return None
