"""What can stand before and behind a step that quantises, and why not the rest; torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from engine import catalog
from engine.specs.recipe_rules.step import Refusal, StepLike

_TRAINING = ("training", "distillation", "defence")


def refuse_quantisation(steps: Sequence[StepLike], zeros: str = "") -> Refusal | None:
    """The first reason why steps do not go with those that quantise; None if they all do.

    Args:
        steps: of a recipe.
        zeros: what set weights to 0 before it, for the sentence; empty if nothing did.
    """
    quantiser = ""
    for step in steps:
        if quantiser and (refusal := _behind(step, quantiser)):
            return refusal
        if zeros and not step.settings.has_zero_level():
            return (
                f"{step.label} cannot follow {zeros}, because its levels have no 0 and would "
                "fill what was pruned",
                "Use method lsq, or leave the weights unpruned.",
            )
        if _family(step) == "pruning" and not step.settings.cuts:
            zeros = step.name
        if _family(step) == "quantisation":
            quantiser = step.name
        if _new_student(step):
            zeros = ""
    return None


def _behind(step: StepLike, quantiser: str) -> Refusal | None:
    """Why a step cannot follow a quantiser: all but training would move weights off levels."""
    if step.settings.in_front:
        return None
    if _family(step) == "quantisation":
        return (
            f"{step.name} cannot follow {quantiser}, because the weights have their levels already",
            "Quantise once.",
        )
    if _family(step) not in _TRAINING:
        return (
            f"{step.name} cannot follow {quantiser}, because the weights would leave their levels",
            f"Put {step.name} before {quantiser}.",
        )
    if _new_student(step):
        return (
            f"{step.name} with another student cannot follow {quantiser}, because its fresh "
            "weights have no levels",
            f"Put {step.name} before {quantiser}, or set student to 'same'.",
        )
    return None


def _family(step: StepLike) -> str:
    return catalog.find("compressions", step.name).family


def _new_student(step: StepLike) -> bool:
    return bool(step.params.get("student", "same") != "same")
