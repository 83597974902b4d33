"""How long the step axis of an attack is, and how its work is spread over it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from engine import catalog
from engine.attacks.cascade import part_name
from engine.attacks.known import PART
from engine.attacks.search.loop import finishing_steps
from engine.catalog.worst_case import WORST_CASE
from engine.specs.choices import AttackSpec, make_attack

_LENGTHS = ("steps", "n_queries")
_ROUNDS = ("restarts", "targets", "binary_search_steps")
_GRADIENT, _QUERY = 3, 1


@dataclass(frozen=True)
class AttackPart:
    """One attack of several in a row, or a whole attack.

    Attributes:
        name: as ``StepPoint.part`` has it; empty for a whole attack.
        steps: of the step axis at most; 0 if unknown.
        cost: of one step of one image, in forwards; a backward costs about two.
    """

    name: str
    steps: int
    cost: int

    @property
    def work(self) -> int:
        """All steps of one image, in forwards."""
        return self.steps * self.cost


def parts(attack: AttackSpec, classes: int, precision: str) -> tuple[AttackPart, ...]:
    """What an attack does one after the other, if no image breaks.

    Args:
        attack: the attack.
        classes: of the model; there is at most one target less.
        precision: of the search; unless it is ``fp32``, a pass in bf16 comes first where that
            can help.
    """
    if attack.name == WORST_CASE:
        known = AttackPart(PART, 1, _QUERY)
        return (known, *_in_turn(cheapest_first(attack, classes), classes, precision))
    several = catalog.find("attacks", attack.name).parts
    shared = {"eps": attack.eps, "norm": attack.norm}
    named = [(make_attack({"name": name, **shared}), name) for name in several] or [(attack, "")]
    whole = [_part(one, name, classes) for one, name in named]
    if precision == "fp32":
        return tuple(whole)
    fast = [part for (one, _), part in zip(named, whole, strict=True) if "fp32" not in one.traits]
    last = [_part(one, name, classes, finishing=bool(fast)) for one, name in named]
    return (*fast, *last)


def cheapest_first(attack: AttackSpec, classes: int) -> tuple[AttackSpec, ...]:
    """The attacks of a worst case by their work on an image that holds; unknown work goes last."""

    def work(one: AttackSpec) -> float:
        plan = parts(one, classes, "fp32")
        return sum(part.work for part in plan) if length(plan) else math.inf

    return tuple(sorted(attack.members, key=work))


def _in_turn(attacks: Sequence[AttackSpec], classes: int, precision: str) -> Iterator[AttackPart]:
    for attack in attacks:
        for part in parts(attack, classes, precision):
            yield replace(part, name=part_name(attack, part.name))


def length(plan: tuple[AttackPart, ...]) -> int:
    """The step axis of all parts, 0 if one of them is unknown."""
    return sum(part.steps for part in plan) if all(part.steps for part in plan) else 0


def _part(attack: AttackSpec, name: str, classes: int, *, finishing: bool = False) -> AttackPart:
    params, shorter = attack.params, finishing and "finishes" in attack.traits
    known = "open length" not in attack.traits
    steps = next((int(params[one]) for one in _LENGTHS if known and one in params), int(known))
    idle = catalog.find("attacks", attack.name).params.idle(params)
    rounds = {one: params[one] for one in _ROUNDS if one in params and one not in idle}
    if shorter:
        rounds["restarts"] = 1
    if "targets" in rounds:
        # No targets are one round, on the loss of all classes.
        rounds["targets"] = max(min(rounds["targets"], classes - 1), 1)
    cost = _QUERY if "n_queries" in params else _GRADIENT
    each = finishing_steps(steps, finishing=shorter)
    return AttackPart(name, each * math.prod(rounds.values()), cost)
