"""Attacks with smaller budgets, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.attacks.base import Attack


def with_budgets(attack: Attack[Any], budgets: Mapping[str, int]) -> Attack[Any]:
    """The attack with these parameters in place of its own, as far as it has them."""
    known = {name: value for name, value in budgets.items() if hasattr(attack.params, name)}
    return type(attack)(attack.params.model_copy(update=known))
