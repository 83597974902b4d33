"""The runs of a study in their order, repeat by repeat; torch-free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.catalog.worst_case import WORST_CASE
from engine.specs.choices import AttackSpec, Recipe

SEEDS = 2**31
"""Seeds of a study are below this."""


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
    twice by what draws: with the seed of its repeat, and with one that no repeat and no other
    second attack has, since a seed in common would make two repeats alike. A worst case is not
    attacked twice: other examples are known to it by then, so that it would be no replicate.

    Args:
        trained: of the recipes, those that another seed makes another variant of.
    """
    every = Part([(seed, None) for seed in seeds], models, recipes, attacks)
    if len(seeds) == 1:
        return (every,)
    again = Part(
        [(seed, second_seed(seed)) for seed in seeds],
        models,
        trained,
        [attack for attack in attacks if attack.draws and attack.name != WORST_CASE],
    )
    return every, again


def second_seed(seed: int) -> int:
    """The seed of the second attack on what a seed trained: in [2^31, 2^32), as of no repeat."""
    return seed + SEEDS
