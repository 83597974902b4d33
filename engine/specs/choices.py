"""What a study chooses from the catalogue: steps, recipes of them, and attacks. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from engine import catalog
from engine.catalog.models.architectures import SAME
from engine.catalog.worst_case import WORST_CASE
from engine.errors import SpecError, quoted
from engine.specs.dataset import Spec
from engine.specs.recipe_rules import refuse


class Choice(Spec):
    """A catalogue id with concrete, validated parameters (a step or an attack).

    ``params`` always holds every parameter, defaults included, so a stored choice keeps its
    meaning when a default changes; ``origin`` says which method from outside is meant, to the
    very file, and is not there for a built-in one.
    """

    name: str
    params: dict[str, Any]
    origin: catalog.Origin | None = Field(None, repr=False)

    @model_serializer(mode="wrap")
    def _without_empty_origin(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        table: dict[str, Any] = handler(self)
        if table.get("origin") is None:
            table.pop("origin", None)
        return table

    def to_table(self) -> dict[str, Any]:
        """The choice as it stands in a study file."""
        return {"name": self.name, **{k: v for k, v in self.params.items() if v is not None}}


class Step(Choice):
    """One element of a compression recipe."""

    @property
    def settings(self) -> catalog.Params:
        """The parameters as the model of the catalogue, which knows what they mean."""
        return catalog.find("compressions", self.name).params.model_validate(self.params)

    @property
    def family(self) -> str:
        """That of its entry, for example ``pruning``."""
        return catalog.find("compressions", self.name).family

    @property
    def label(self) -> str:
        """For example ``magnitude 90%``."""
        return catalog.find("compressions", self.name).label(self.settings)

    @property
    def brief(self) -> str:
        """The label without the parameters that it spells out."""
        text = self.settings.brief(self.name)
        return f"{text} [{self.origin.name}]" if self.origin else text


_CERTAIN = {"random_start": False, "n_restarts": 1}
"""Parameters of attacks that draw nothing at their defaults, up to which they draw nothing."""


class AttackSpec(Choice):
    """An attack with all its parameters."""

    @property
    def label(self) -> str:
        """For example ``pgd-40 8/255``."""
        entry = catalog.find("attacks", self.name)
        return entry.label(entry.params.model_validate(self.params))

    @property
    def norm(self) -> str:
        """The norm of the threat model, "" if none; some attacks take it as a parameter."""
        return str(self.params.get("norm", catalog.find("attacks", self.name).norm))

    @property
    def traits(self) -> frozenset[catalog.Trait]:
        """What the attack does, as its entry says; of a worst case all that its attacks do."""
        own = catalog.find("attacks", self.name).traits
        if self.name != WORST_CASE:
            return own
        return own & frozenset().union({"keeps best"}, *(one.traits for one in self.members))

    @property
    def draws(self) -> bool:
        """Whether another seed may give other examples; of a method from outside nobody knows."""
        if self.name == WORST_CASE:
            return any(one.draws for one in self.members)
        beyond_defaults = any(self.params.get(name, 0) > most for name, most in _CERTAIN.items())
        return self.origin is not None or "seeded" in self.traits or beyond_defaults

    @property
    def members(self) -> tuple[AttackSpec, ...]:
        """The attacks of a worst case in the order of the study; of another attack it alone."""
        if self.name != WORST_CASE:
            return (self,)
        return tuple(AttackSpec.model_validate(one) for one in self.params["attacks"])

    @property
    def eps(self) -> float | None:
        """The radius of the threat model, None if the attack has none."""
        # Two attacks of torchattacks have their own word for it.
        value = self.params.get("eps", self.params.get("max_epsilon"))
        return None if value is None else float(value)


Recipe = tuple[Step, ...]
"""The steps from a base model to a variant; empty for the base model itself."""


class StepWords(TypedDict):
    """A step as the store keeps it beside a run: what it is, and what it is called."""

    name: str
    label: str
    brief: str


def in_words(recipe: Recipe) -> list[StepWords]:
    """The names and labels of the steps."""
    return [StepWords(name=one.name, label=one.label, brief=one.brief) for one in recipe]


def recipe_label(recipe: Recipe) -> str:
    """For example ``magnitude 90% + ptq w4``; ``none`` for the base model."""
    return " + ".join(step.label for step in recipe) or "none"


def draws(recipe: Recipe) -> bool:
    """Whether another seed may give another variant.

    Steps that look at no training image draw nothing; of one from outside nobody knows.
    """
    return any(step.origin is not None or step.settings.needs_images() for step in recipe)


def architecture_after(architecture: str, recipe: Recipe) -> str:
    """The architecture of a variant: the base model's, or that of the last student."""
    for step in recipe:
        student = step.params.get("student", SAME)
        architecture = architecture if student == SAME else str(student)
    return architecture


def has_student(recipe: Recipe) -> bool:
    """Whether a recipe puts another network in the place of the base model."""
    return any(step.params.get("student", SAME) != SAME for step in recipe)


def check_recipe(recipe: Recipe, where: str = "compression") -> None:
    """Refuse steps that do not go together.

    Raises:
        SpecError: with the first reason (``refuse``).
    """
    if refusal := refuse(recipe):
        reason, hint = refusal
        raise SpecError(f"{where} {recipe_label(recipe)!r}: {reason}.", hint)


def make_step(table: Mapping[str, Any], where: str = "compression") -> Step:
    """Validate one step; lists are not allowed here (see ``expand``)."""
    return Step(**_validated("compressions", table, where))


def make_attack(table: Mapping[str, Any] | AttackSpec | str, where: str = "attack") -> AttackSpec:
    """Validate one attack given as ``{"name": ..., params}``, as an id or ready made."""
    if isinstance(table, AttackSpec):
        return table
    table = {"name": table} if isinstance(table, str) else table
    return AttackSpec(**_validated("attacks", table, where))


def _validated(section: str, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    rest = dict(table)
    name = rest.pop("name", None)
    if not isinstance(name, str):
        raise SpecError(_at(where, "the key 'name' is missing."))
    entry = catalog.find(section, name)
    try:
        params = entry.params.model_validate(rest).model_dump(mode="json")
    except ValidationError as error:
        place = f"{where} {name!r}" if where else ""
        raise spec_error(error, place, tuple(entry.params.model_fields)) from None
    return {"name": name, "params": params, "origin": entry.origin}


def spec_error(error: ValidationError, where: str, known: tuple[str, ...] = ()) -> SpecError:
    """Turn pydantic's report into one sentence with field, value and what is allowed.

    It begins with where that was, unless ``where`` is empty because the reader sees it.
    """
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or where
    value = first.get("input")
    if first["type"] == "extra_forbidden":
        options = f"Known: {', '.join(known)}." if known and len(first["loc"]) == 1 else ""
        return SpecError(_at(where, f"there is no parameter {quoted(field)}."), options)
    if first["type"] == "missing":
        return SpecError(_at(where, f"the key {field!r} is missing."))
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    plain = not isinstance(value, dict | BaseModel)
    if not first["loc"]:
        hint = str(first.get("ctx", {}).get("hint", ""))
        return SpecError(f"{where} {message}.".lstrip(), hint)
    shown = f" is {quoted(value)} but" if plain else ""
    return SpecError(_at(where, f"{field}{shown} {message}."))


def _at(where: str, text: str) -> str:
    return f"{where}: {text}" if where else text
