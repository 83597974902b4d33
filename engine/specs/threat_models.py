"""The balls that a worst-case study looks at, and which of its attacks count in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.catalog.worst_case import WORST_CASE
from engine.errors import SpecError
from engine.specs.choices import AttackSpec

_MODE = f'mode = "{WORST_CASE}"'


def threat_models(attacks: Sequence[AttackSpec]) -> list[dict[str, Any]]:
    """Parameters of a worst case for each ball that an attack names, in that order.

    An attack without an eps counts in every ball of its norm, by the distances of its examples.

    Raises:
        SpecError: an attack has no norm, or no ball of its norm is named.
    """
    balls = list(dict.fromkeys((one.norm, one.eps) for one in attacks if one.eps is not None))
    norms = {norm for norm, _ in balls}
    for one in attacks:
        if not one.norm:
            raise SpecError(
                f"{_MODE} counts images within a ball, and {one.label} has no norm.",
                f"Leave {one.name} out, or leave the mode out.",
            )
        if one.norm not in norms:
            raise SpecError(
                f"{_MODE} counts images within a ball, and no attack in {one.norm} has an eps in "
                f"which the examples of {one.label} could lie.",
                f"Add an attack in {one.norm} with an eps, or leave {one.name} out.",
            )
    return [
        {
            "norm": norm,
            "eps": eps,
            "attacks": [
                one.model_dump(mode="json")
                for one in attacks
                if one.norm == norm and one.eps in (eps, None)
            ],
        }
        for norm, eps in balls
    ]
