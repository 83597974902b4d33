"""Which pruning steps go together in a recipe, and why not where they do not; torch-free."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from engine import catalog
from engine.specs.recipe_rules.step import Refusal, StepLike


def refuse_pruning(steps: Sequence[StepLike]) -> Refusal | None:
    """The first reason why the pruning steps of a recipe do not go together; None if they do."""
    return _channel_after_mask(steps) or _nothing_left_to_do(steps)


def _channel_after_mask(steps: Sequence[StepLike]) -> Refusal | None:
    """Channels are cut out of plain weights; what hangs on a weight would lose its place."""
    earlier = ""
    for step in steps:
        if step.name == "channel" and earlier:
            return (
                f"channel cannot follow {earlier}, because masks and levels would lose their "
                "place on the weights that it cuts",
                f"Put channel before {earlier}.",
            )
        family = catalog.find("compressions", step.name).family
        if not earlier and step.name != "channel" and family in ("pruning", "quantisation"):
            earlier = step.name
    return None


def _nothing_left_to_do(steps: Sequence[StepLike]) -> Refusal | None:
    """Of two pruning steps in a row the second must ask for more."""
    for before, step in itertools.pairwise(steps):
        same = before.name == step.name and _implied(step.name, before.params, step.params)
        if same or _no_choice(before, step):
            return (
                f"{step.label} after {before.label} removes nothing, because it asks for no more",
                "Leave one of the two out, or prune harder in the second.",
            )
    return None


def _no_choice(before: StepLike, step: StepLike) -> bool:
    """Whether Hydra finds in no layer more weights than it would keep."""
    if step.name != "hydra":
        return False
    match before.name, before.params:
        case "hydra", params:
            left = params["density"]
        case "magnitude", {"scope": "layer", "sparsity": sparsity}:
            left = 1 - sparsity
        case "nm-sparsity", {"n": n, "m": m, "indivisible": "refuse"}:
            left = n / m
        case _:
            return False
    return bool(left <= step.params["density"] + 1e-9)


def _implied(name: str, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether pruning again by the same measure finds its work done; zeros rank first."""

    def same(*keys: str) -> bool:
        return all(old[key] == new[key] for key in keys)

    match name:
        case "magnitude":
            return same("scope") and bool(old["sparsity"] >= new["sparsity"])
        case "filter":
            return same("criterion", "scope") and bool(old["ratio"] >= new["ratio"])
        case "nm-sparsity":
            # At most n of m means at most k n of k m. A layer that divides by k m divides by m.
            times, rest = divmod(new["m"], old["m"])
            return rest == 0 and bool(times * old["n"] <= new["n"])
        case "rap-admm":
            stem = old["stem"] or not new["stem"]
            return same("pattern") and bool(stem and old["rate"] >= new["rate"])
    return False
