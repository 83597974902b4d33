"""What the user asks for: a study, and the runs it expands to. Frozen, serialisable, torch-free."""

from __future__ import annotations

import hashlib
import itertools
import json
import tomllib
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import tomli_w
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from engine import catalog
from engine.catalog.entry import ABOVE_ZERO
from engine.catalog.worst_case import WORST_CASE
from engine.errors import SpecError
from engine.specs.choices import (
    AttackSpec,
    Recipe,
    Step,
    check_recipe,
    draws,
    make_attack,
    make_step,
    recipe_label,
    spec_error,
)
from engine.specs.dataset import MOST_IMAGES, DatasetSpec, Spec
from engine.specs.plan import SEEDS, Part, Planned, parts
from engine.specs.sweeps import by_name, expand, is_recipe, steps_of
from engine.specs.threat_models import threat_models

_T = TypeVar("_T")

_Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
_MOST_SEEDS = 100


def content_key(*parts: Any) -> str:
    """SHA-256 of the parts as canonical JSON; equal content gives equal keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


_ABSENT = "absent models"
"""Context of a validation that takes models which are not in the library."""


class ModelSpec(Spec):
    """A base model, by catalogue id."""

    name: str

    @model_validator(mode="after")
    def _known(self, info: ValidationInfo) -> Self:
        if info.context != _ABSENT:
            catalog.find("models", self.name)
        return self


class Study(Spec):
    """A study file: data x models x compressions x attacks.

    The tables of compressions and attacks stay as they were written (lists are sweeps), so
    that a study can be shown, edited and written back unchanged; ``recipes`` and
    ``attack_specs`` give the validated expansion. In the mode ``worst-case`` what counts is who
    survives all attacks of a threat model together, so each of them meets only what is left.
    Instead of one seed there may be several: all is trained and attacked once with each of them.
    """

    name: str = Field(min_length=1, max_length=120)
    seed: _Seed = 0
    seeds: tuple[_Seed, ...] = Field((), max_length=_MOST_SEEDS)
    keep_images: int = Field(
        200, ge=0, le=MOST_IMAGES, description="Images whose examples a run keeps."
    )
    mode: Literal["worst-case"] | None = None
    dataset: DatasetSpec
    models: tuple[ModelSpec, ...] = Field(alias="model", min_length=1)
    compressions: tuple[dict[str, Any], ...] = Field((), alias="compression")
    attacks: tuple[dict[str, Any], ...] = Field(alias="attack", min_length=1)

    @field_validator("name")
    @classmethod
    def _one_line(cls, name: str) -> str:
        if not name.isprintable() or not name.strip():
            raise ValueError("must be one line of printable text")
        return name

    @model_validator(mode="before")
    @classmethod
    def _one_or_several(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "seed" in data and "seeds" in data:
            raise PydanticCustomError(
                "both_seeds",
                "takes seed, or seeds for repeats, but not both",
                {"hint": "Remove the line of seed to repeat the study, or that of seeds."},
            )
        return data

    @field_validator("seeds", mode="before")
    @classmethod
    def _listed(cls, seeds: Any) -> Any:
        if not isinstance(seeds, list | tuple):
            raise ValueError("must be a list such as [0, 1, 2]; one is written as seed")
        return seeds

    @field_validator("seeds")
    @classmethod
    def _several(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(seeds) < 2:
            raise ValueError("must name two seeds or more; one is written as seed")
        if len(set(seeds)) < len(seeds):
            raise ValueError("must name each seed once")
        return seeds

    @model_validator(mode="after")
    def _expands(self, info: ValidationInfo) -> Self:
        self.recipes()
        self.attack_specs()
        for name in self.absent_models() if info.context != _ABSENT else ():
            catalog.find("models", name)  # a teacher: says what there is
        return self

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], where: str = "study", *, absent_models: bool = False
    ) -> Self:
        """Build a study from the tables of a study file.

        Args:
            data: the tables.
            where: they stand, for messages.
            absent_models: take base models that are not in the library; such a study can be
                looked at, not run.

        Raises:
            SpecError: names the field, the value and what is allowed.
        """
        try:
            return cls.model_validate(data, context=_ABSENT if absent_models else None)
        except ValidationError as error:
            raise spec_error(error, where, _FILE_KEYS) from None

    @classmethod
    def from_toml(cls, path: Path, *, absent_models: bool = False) -> Self:
        """Read a study file.

        Args:
            path: of the file.
            absent_models: as in ``from_dict``.

        Raises:
            SpecError: the file is missing, is no TOML, or asks for something impossible.
        """
        try:
            data = tomllib.loads(path.read_text("utf-8-sig"))
        except OSError as error:
            raise SpecError(f"The study file {path} cannot be read: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SpecError(f"The study file {path} is not valid TOML: {error}.") from None
        return cls.from_dict(data, path.name, absent_models=absent_models)

    def to_dict(self) -> dict[str, Any]:
        """The tables of the study file (aliases as keys, nothing that is None)."""
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        data["dataset"] = {k: v for k, v in data["dataset"].items() if v != ""}
        del data["seed" if self.seeds else "seeds"]
        return data

    def to_toml(self) -> str:
        """The study as a file; reading it back gives an equal study."""
        return tomli_w.dumps(self.to_dict())

    def recipes(self) -> tuple[Recipe, ...]:
        """All compression recipes, ``none`` first, each once."""
        return _all_recipes(_Written(repr(self.compressions), self.compressions), catalog.state())

    def attack_specs(self) -> tuple[AttackSpec, ...]:
        """What the runs of each variant do: all attacks, each once, or one worst case per ball."""
        expand_all = _all_attacks if self.mode is None else _worst_cases
        return expand_all(_Written(repr(self.attacks), self.attacks), catalog.state())

    @property
    def repeats(self) -> tuple[int, ...]:
        """The seeds of all repeats, the first of which decides what they share; or the seed."""
        return self.seeds or (self.seed,)

    def count(self) -> int:
        """How many runs there are, without making them."""
        return sum(part.count for part in self._parts())

    def count_second(self) -> int:
        """How many of them are second attacks, which tell training and attack apart."""
        return sum(part.count for part in self._parts()[1:])

    def planned(self, number: int) -> Planned:
        """What one of ``runs`` does, without making them; from 0."""
        for part in self._parts():
            if number < part.count:
                return part.at(number)
            number -= part.count
        raise IndexError("a study has no such run")

    def _parts(self) -> tuple[Part, ...]:
        models = tuple(model.name for model in self._base_models())
        written = _Written(repr(self.compressions), self.compressions)
        trained = _trained(written, catalog.state()) if self.seeds else ()
        return parts(self.repeats, models, self.recipes(), self.attack_specs(), trained)

    def _base_models(self) -> tuple[ModelSpec, ...]:
        return _unique(list(self.models))

    def absent_models(self) -> tuple[str, ...]:
        """The base models and teachers that the library does not have."""
        known = catalog.section("models")
        named = [*(model.name for model in self.models), *self.teachers()]
        return tuple(name for name in dict.fromkeys(named) if name not in known)

    def teachers(self) -> tuple[str, ...]:
        """The models of the catalogue that steps learn from, each once."""
        return _all_teachers(_Written(repr(self.compressions), self.compressions), catalog.state())

    def unused(self) -> tuple[str, ...]:
        """Sentences on parameters that are named but do nothing beside the others."""
        steps = [
            ("compressions", f"compression {number}", step)
            for number, table in enumerate(self.compressions, 1)
            for step in steps_of(table)
        ]
        attacks = [
            ("attacks", f"attack {number}", table) for number, table in enumerate(self.attacks, 1)
        ]
        return tuple(
            f"{where} {table['name']!r}: {name} does nothing unless {other} is {_needed(values)}."
            for section, where, swept in (*steps, *attacks)
            for table in by_name(swept)
            for name, (other, values) in catalog.find(section, table["name"])
            .params.idle(table)
            .items()
            if name in table
        )

    def runs(self) -> tuple[Run, ...]:
        """Every run, repeat by repeat and variant by variant; base variants come first."""
        return tuple(
            self._run(part.at(number)) for part in self._parts() for number in range(part.count)
        )

    def _run(self, planned: Planned) -> Run:
        first = self.repeats[0]
        return Run(
            dataset=self.dataset,
            model=planned.model,
            recipe=planned.recipe,
            attack=planned.attack,
            seed=planned.seed,
            shared_seed=None if planned.seed == first else first,
            attack_seed=planned.attack_seed,
            keep_images=self.keep_images,
        )


def _needed(values: tuple[object, ...]) -> str:
    """The values of a condition in words."""
    return " or ".join(map(_as_written, values)) if values != ABOVE_ZERO else "above 0"


def _as_written(value: object) -> str:
    """A value of a choice as study files have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


_FILE_KEYS = (
    *("name", "seed", "seeds", "keep_images", "mode"),
    *("dataset", "model", "compression", "attack"),
)


@dataclass(frozen=True)
class _Written:
    """Tables of a study file, equal to others that are written alike."""

    text: str
    tables: tuple[dict[str, Any], ...] = field(compare=False)


# A study is validated at every key that is typed into it, and expanded several times at each;
# its tables are the same most of the time.


@lru_cache(maxsize=8)
def _all_teachers(written: _Written, state: Hashable) -> tuple[str, ...]:
    steps = itertools.chain.from_iterable(_all_recipes(written, state))
    named = (getattr(step.settings, "teachers", ()) for step in steps)
    return tuple(dict.fromkeys(itertools.chain.from_iterable(named)))


@lru_cache(maxsize=8)
def _all_recipes(written: _Written, _catalogue: Hashable) -> tuple[Recipe, ...]:
    found: list[Recipe] = [()]
    for number, table in enumerate(written.tables, 1):
        found += _recipes(table, f"compression {number}")
    return _unique(found)


@lru_cache(maxsize=8)
def _trained(written: _Written, catalogue: Hashable) -> tuple[Recipe, ...]:
    return tuple(filter(draws, _all_recipes(written, catalogue)))


@lru_cache(maxsize=8)
def _all_attacks(written: _Written, _catalogue: Hashable) -> tuple[AttackSpec, ...]:
    for number, table in enumerate(written.tables, 1):
        if "name" in table and WORST_CASE in (one["name"] for one in by_name(table)):
            raise SpecError(
                f"attack {number}: {WORST_CASE!r} is a mode of a study and no attack.",
                f'Write mode = "{WORST_CASE}" above the tables, and the attacks below.',
            )
    found = [
        make_attack(one, f"attack {number}")
        for number, table in enumerate(written.tables, 1)
        for one in expand(table)
    ]
    return _unique(found)


@lru_cache(maxsize=8)
def _worst_cases(written: _Written, catalogue: Hashable) -> tuple[AttackSpec, ...]:
    attacks = _all_attacks(written, catalogue)
    return tuple(AttackSpec(name=WORST_CASE, params=ball) for ball in threat_models(attacks))


def _recipes(table: Mapping[str, Any], where: str) -> Iterator[Recipe]:
    given = table.get("steps")
    tables = isinstance(given, list) and any(isinstance(one, Mapping) for one in given)
    alone = set(table) == {"steps"} and isinstance(given, list) and given
    if (is_recipe(table) and not alone) or (tables and "name" in table):
        raise SpecError(f"{where}: 'steps' must be a list of steps and stand alone.")
    steps = steps_of(table)
    if not all(isinstance(step, Mapping) for step in steps):
        raise SpecError(f"{where}: every step must be a table with a 'name'.")
    expanded = [[make_step(one, where) for one in expand(step)] for step in steps]
    for combination in itertools.product(*expanded):
        recipe = tuple(step for step in combination if step.name != "none")
        check_recipe(recipe, where)
        yield recipe


def _unique(items: list[_T]) -> tuple[_T, ...]:
    seen: dict[str, _T] = {}
    for item in items:
        seen.setdefault(content_key(repr(item)), item)
    return tuple(seen.values())


class Run(Spec):
    """One variant of a model under one attack.

    Attributes:
        seed: of the repeat, and of all that is drawn where nothing else is said.
        shared_seed: of what repeats share: the images with their order, and steps that draw
            nothing.
        attack_seed: of the attack, where what a repeat trained is attacked once more.
    """

    dataset: DatasetSpec
    model: str
    recipe: tuple[Step, ...]
    attack: AttackSpec
    seed: int = 0
    shared_seed: int | None = None
    attack_seed: int | None = None
    keep_images: int = 200

    @property
    def compression(self) -> str:
        """The label of the variant."""
        return recipe_label(self.recipe)

    @property
    def seed_of_images(self) -> int:
        """Of the subset of images and their order."""
        return self.seed if self.shared_seed is None else self.shared_seed

    @property
    def seed_of_variant(self) -> int:
        """Of what its steps draw; of a prefix of its recipe too, with the run cut to it."""
        return self.seed if draws(self.recipe) else self.seed_of_images

    @property
    def seed_of_attack(self) -> int:
        """Of what its attack draws."""
        return self.seed if self.attack_seed is None else self.attack_seed
