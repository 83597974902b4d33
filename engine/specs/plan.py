"""The runs of a study in their order, repeat by repeat; torch-free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.specs.choices import AttackSpec, Recipe


class Planned(NamedTuple):
    """What a run does; ``attack_seed`` if its attack has another seed than its repeat."""

    model: str
    recipe: Recipe
    attack: AttackSpec
    seed: int
    attack_seed: int | None


@dataclass(frozen=True)
class Part:
    """Runs of a study: all combinations of these, the last of which change first.

    Attributes:
        seeds: of each repeat, and of its attack where that is another.
    """

    seeds: Sequence[tuple[int, int | None]]
    models: Sequence[str]
    recipes: Sequence[Recipe]
    attacks: Sequence[AttackSpec]

    @property
    def count(self) -> int:
        """How many runs these are."""
        return math.prod(map(len, (self.seeds, self.models, self.recipes, self.attacks)))

    def at(self, number: int) -> Planned:
        """One of them, from 0."""
        rest, attack = divmod(number, len(self.attacks))
        rest, recipe = divmod(rest, len(self.recipes))
        seed, model = divmod(rest, len(self.models))
        return Planned(
            self.models[model], self.recipes[recipe], self.attacks[attack], *self.seeds[seed]
        )


def parts(
    seeds: Sequence[int],
    models: Sequence[str],
    recipes: Sequence[Recipe],
    attacks: Sequence[AttackSpec],
    trained: Sequence[Recipe],
) -> tuple[Part, ...]:
    """All runs in order: each repeat, and behind them what tells training and attack apart.

    Between two repeats training and attack differ both. So what is trained in each is attacked
    twice by what draws: with the seed of its repeat, and with that of the next one.

    Args:
        trained: of the recipes, those that another seed makes another variant of.
    """
    every = Part([(seed, None) for seed in seeds], models, recipes, attacks)
    if len(seeds) == 1:
        return (every,)
    again = Part(
        list(zip(seeds, (*seeds[1:], seeds[0]), strict=True)),
        models,
        trained,
        [attack for attack in attacks if attack.draws],
    )
    return every, again
