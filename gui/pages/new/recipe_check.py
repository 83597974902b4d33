"""What a recipe makes, or what is wrong with its order, as one says it beside it; no widgets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.errors import SpecError
from engine.specs.choices import Recipe, make_step, recipe_label
from engine.specs.recipe_rules import refuse
from engine.specs.sweeps import expand

MOST_CHECKED = 200
"""Combinations of a sweep that are looked at; the study looks at all of them."""


def objection(steps: Sequence[Mapping[str, Any]]) -> str:
    """Why these steps do not go together, and what to change; empty if they do.

    A value that a step does not take is no matter of the recipe: its field says so.
    """
    try:
        recipes = list(_recipes(steps))
    except SpecError:
        return ""
    for recipe in recipes:
        if refusal := refuse(recipe):
            reason, hint = refusal
            return " ".join(filter(None, (f"{reason[:1].upper()}{reason[1:]}.", hint)))
    return ""


def outcome(steps: Sequence[Mapping[str, Any]]) -> str:
    """The variant that comes of these steps, or how many there are; empty if none can."""
    try:
        recipes = list(_recipes(steps))
    except SpecError:
        return ""
    if len(recipes) == 1:
        return recipe_label(recipes[0])
    more = "more than " if len(recipes) == MOST_CHECKED else ""
    return f"{more}{len(recipes)} variants, first {recipe_label(recipes[0])}"


def _recipes(steps: Sequence[Mapping[str, Any]]) -> Iterator[Recipe]:
    sweeps = [[make_step(expanded, "step") for expanded in expand(step)] for step in steps]
    return itertools.islice(itertools.product(*sweeps), MOST_CHECKED)
