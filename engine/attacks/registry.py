"""Which class runs which attack of the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from engine.attacks.fgsm import FGSM
from engine.attacks.pgd import PGD
from engine.attacks.search import Search
from engine.attacks.torchattacks_adapter import PREFIX, TorchattacksAttack
from engine.specs import AttackSpec


class Attack(Protocol):
    """An attack with its parameters; the constructor takes those of the catalogue entry."""

    def run(self, search: Search) -> None:
        """Attack the survivors of the search; called once per pass."""


REGISTRY: dict[str, Callable[..., Attack]] = {"fgsm": FGSM, "pgd": PGD}


def create(spec: AttackSpec) -> Attack:
    """The attack that a spec asks for; ``torchattacks.*`` goes to the adapter."""
    if spec.name.startswith(PREFIX):
        return TorchattacksAttack(spec.name.removeprefix(PREFIX), **spec.params)
    return REGISTRY[spec.name](**spec.params)
