"""What an entry of the catalogue is, and the number types its parameters are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, ConfigDict

from engine.catalog.outside import Origin
from engine.catalog.strict import Strict, as_number


def format_number(value: float) -> str:
    """Write a number as people in the field do: ``8/255``, ``0.15``, ``40``."""
    scaled = value * 255
    plain = f"{value:.6g}"
    if 0 < value < 1 and abs(scaled - round(scaled)) < 1e-6 and len(plain) > 5:
        return f"{round(scaled)}/255"
    return plain


def setting(name: str, value: Any) -> str:
    """A parameter spelled out in a label, one word: ``eps=8/255``, ``schedule=as-coded``."""
    shown = format_number(value) if type(value) is float else str(value)
    return f"{name}={shown.replace(' ', '-')}"


Number = Annotated[float, BeforeValidator(as_number)]
"""A float that may be written as a fraction in study files and forms."""


Condition = tuple[str, tuple[object, ...]]
"""Another parameter, and the values of it that are needed."""

ABOVE_ZERO: tuple[object, ...] = ()
"""In a condition: any value but 0."""

Conditions = Mapping[str, Condition]
"""What parameters need, by their names."""

Structure = Literal["", "unstructured", "semi-structured", "structured"]
"""What shape pruning removes: single weights, some of every few, or whole filters and columns."""

Defence = Literal[
    "",
    "adversarial training",
    "defensive distillation",
    "adversarial purification",
    "input transformation",
]
"""The kinds of defences that the review tells apart; empty for what defends in no such way."""

_WITHIN = ("ramp", "warm")
"""Epochs of these names are counted within others."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Params(Strict):
    """Base of all parameter models: frozen, strict about names, finite numbers only.

    Every field carries a title, a description, bounds and a default, because the forms of
    the window, ``crumple list`` and the error messages are made from them. Units go into
    ``json_schema_extra={"unit": ...}``. Forms fold away what has a ``"group"`` there, under its
    name, for example ``"training"`` or ``"more"``; ``catalog.group_of`` finds it.

    Attributes:
        only_with: parameters that do something only where another one has one of some values,
            or is ``ABOVE_ZERO``.
        cuts: of steps: what they prune is gone, where others leave zeros.
        in_front: of steps: what they add stands in front of the network, whose weights stay.
        published: the schedule of the paper, where the defaults are another.
    """

    # Built when first asked for: there are many, and most are never used in a session.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    only_with: ClassVar[Conditions] = {}
    cuts: ClassVar[bool] = False
    in_front: ClassVar[bool] = False
    published: ClassVar[Mapping[str, int]] = {}

    def shortened(self) -> dict[str, int]:
        """What of the published schedule is shorter here: by parameter what the paper has."""
        given = self.model_dump()
        return {name: value for name, value in self.published.items() if given[name] < value}

    @classmethod
    def idle(cls, given: Mapping[str, Any]) -> dict[str, Condition]:
        """The parameters that do nothing beside these values, and what they would need.

        What is not given is the default. Where a list of values is given, one that needs the
        parameter is enough.
        """
        conditions: dict[str, Condition] = {}
        for base in reversed(cls.__mro__):
            conditions |= vars(base).get("only_with", {})

        def unmet(name: str) -> Condition | None:
            if name not in conditions:
                return None
            other, values = conditions[name]
            found = given.get(other, cls.model_fields[other].default)
            tried = found if isinstance(found, list) else [found]
            met = any(tried) if values == ABOVE_ZERO else set(tried) & set(values)
            return unmet(other) or (None if met else conditions[name])

        found = {name: unmet(name) for name in cls.model_fields}
        return {name: condition for name, condition in found.items() if condition}

    def label(self, title: str) -> str:
        """A short text that tells this setting from its neighbours in one study."""
        return title

    def brief(self, title: str) -> str:
        """The label without what it spells out as ``name=value``, for where there is no room."""
        return self.label(title)

    def training_epochs(self) -> int:
        """Epochs of all trainings of this step together; 0 if it does not train."""
        given = self.model_dump()
        idle = self.idle(given)
        return sum(
            int(value)
            for name, value in given.items()
            if name not in idle
            and (name == "epochs" or (name.endswith("_epochs") and not name.startswith(_WITHIN)))
        )

    def needs_images(self) -> bool:
        """Whether this step looks at training images; one that does not say may do so."""
        return True

    def further_archive(self) -> str:
        """Path of an archive whose images this step learns from beside the others; or empty."""
        return ""

    def chooses_on_test_images(self) -> bool:
        """Whether this step chooses an epoch on the images that are attacked later."""
        return False

    def left_out(self, layers: Sequence[str]) -> set[str]:
        """Layers, of all in their order, that this step leaves or treats otherwise on purpose."""
        return set()

    def left_in_each_layer(self) -> float | None:
        """The share of the weights that this step leaves in every layer; None if it differs."""
        return None

    def removes_nothing_after(self, before: Params) -> bool:
        """Whether this pruning step has nothing left to do right behind another step."""
        return False

    def has_zero_level(self) -> bool:
        """Whether 0 is among the values that this step rounds weights to; true if it rounds none.

        Where it is not, what was pruned before would be filled again.
        """
        return True

    def pruned_structure(self) -> Structure:
        """The shape of what this step prunes; empty if it prunes nothing."""
        return ""

    def trains_robustly(self) -> bool:
        """Whether this step trains weights of the network on adversarial examples."""
        return False

    def defends_by(self) -> Defence:
        """The kind of defence that this step is."""
        return ""

    def requested(self) -> dict[str, float]:
        """What this step asks for, by the key of the accounting that tells what became of it."""
        given = self.model_dump()
        kept: tuple[str, ...] = ("sparsity", "activation_bits")
        found = {key: given[key] for key in kept if key in given}
        if "density" in given:
            found["sparsity"] = 1 - given["density"]
        for name in ("bits", "weight_bits"):
            if name in given:
                found["weight_bits"] = given[name]
        return {key: float(value) for key, value in found.items() if _is_number(value)}


class NoParams(Params):
    """For entries that take no parameters."""

    def needs_images(self) -> bool:
        return False


Trait = Literal[
    "gradient",
    "seeded",
    "iterative",
    "drops broken",
    "single step",
    "no limit",
    "keeps best",
    "fp32",
    "finishes",
    "one by one",
    "open length",
]
"""What an attack does at its defaults, for those that run it and those that judge it.

- gradient: it follows the gradient of the model;
- seeded: it draws at random, so that another seed gives other examples;
- iterative: its telemetry has a point for each of its ``steps``, in a ball;
- drops broken: images leave it when they break, so that its margin is that of the survivors;
- single step: it looks at the gradient once;
- no limit: it takes the closest example, however far, so its result is the distances;
- keeps best: what counts is the best point of its way, so an example once met is not lost;
- fp32: it looks for what bf16 cannot tell apart, the sides of a boundary or close margins, so it
  always searches in fp32;
- finishes: in fp32 it finishes, in fewer steps, what it began in bf16; others begin again;
- one by one: it goes from image to image, so it is given one at a time;
- open length: how long its axis of steps gets is not known beforehand.
"""

Kind = Literal["cross-entropy", "margin", "closest", "gradient-free"]
"""What a search climbs, or that it looks for the closest example, or that it needs no gradient."""


@dataclass(frozen=True)
class Entry:
    """One thing that Crumple offers.

    Attributes:
        id: the name used in study files.
        title: the name shown to people.
        family: the group it is listed under.
        summary: one line.
        paper: the source, as author, year and arXiv number or venue; empty if none applies.
        formula: of methods, what is computed, in one line of plain text; symbols as in
            ``docs/attacks.md`` and ``docs/compressions.md``.
        params: the parameter model.
        limits: when it cannot be used, in words; empty if always.
        norm: for attacks, the norm that eps is measured in: "Linf", "L2" or "" (none).
        traits: of attacks: what they do.
        kinds: of attacks: the kinds of search inside them that count as evidence; empty for
            references, loose bounds and single steps.
        parts: of attacks: the ids of those that they make one after the other, each in the same
            ball and on what survived the ones before.
        origin: of methods from outside: the file or the package; None is built in.
    """

    id: str
    title: str
    family: str
    summary: str
    paper: str
    params: type[Params] = NoParams
    limits: str = ""
    norm: str = ""
    traits: frozenset[Trait] = frozenset()
    kinds: frozenset[Kind] = frozenset()
    parts: tuple[str, ...] = ()
    formula: str = ""
    origin: Origin | None = None

    def label(self, params: Params) -> str:
        """A short text for tables and legends; of a method from outside with its origin."""
        text = params.label(self.id)
        return f"{text} [{self.origin.label}]" if self.origin else text


@dataclass(frozen=True, kw_only=True)
class AttackEntry(Entry):
    """An attack: what others must know of it is said, never left to a default."""

    norm: str = field()
    traits: frozenset[Trait] = field()
    kinds: frozenset[Kind] = field()

    @property
    def norms(self) -> tuple[str, ...]:
        """All norms that it can measure eps or distances in; empty without a norm."""
        parameter = self.params.model_fields.get("norm")
        if parameter is not None:
            return get_args(parameter.annotation)
        return (self.norm,) if self.norm else ()


Section = dict[str, Entry]


def section(*entries: Entry) -> Section:
    """Collect entries by id; a duplicate id is a mistake in the catalogue."""
    result: Section = {}
    for entry in entries:
        if entry.id in result:
            raise ValueError(f"duplicate catalogue id {entry.id!r}")
        result[entry.id] = entry
    return result


Loader = Callable[[], Section]
