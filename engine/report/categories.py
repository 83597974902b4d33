"""Which category of the review a variant belongs to, from what the catalogue says of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import CrumpleError
from engine.report.naming import in_order
from engine.specs.choices import Step
from engine.store import ResultRow

COMPRESSING = ("pruning", "distillation", "quantisation")
"""The categories of the review: families of the catalogue; others stand behind them."""

UNCOMPRESSED = "uncompressed"
UNKNOWN = "not in the catalogue"
"""Of a method from outside that is not there, or of another version."""


@dataclass(frozen=True)
class Category:
    """What was done to a variant, in the terms of the review.

    Attributes:
        families: of the steps, each once, in their order; training counts where it is alone.
        structures: of what was pruned, likewise.
        robust: whether a step trained the network on adversarial examples.
        defences: the kinds of defences among the steps, each once.
    """

    families: tuple[str, ...] = ()
    structures: tuple[str, ...] = ()
    robust: bool = False
    defences: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For example ``pruning + quantisation``."""
        return " + ".join(self.families) or UNCOMPRESSED

    @property
    def structure(self) -> str:
        """For example ``unstructured``; empty where nothing was pruned."""
        return " + ".join(self.structures)

    @property
    def training(self) -> str:
        """Whether there was robust training, in words; empty where nobody would ask."""
        if self.families == ("training",):
            return "robust" if self.robust else "standard"
        if self.robust:
            return "with robust training"
        return "without robust training" if {*self.families} & {*COMPRESSING} else ""

    @property
    def words(self) -> str:
        """All of it: ``pruning, unstructured, with robust training``."""
        return ", ".join(filter(None, (self.name, self.structure, self.training)))

    @property
    def order(self) -> tuple[int, str, str, bool]:
        """To sort by: the base model, then the categories of the review, then others."""
        first = next(iter(self.families), "")
        known = ("", *COMPRESSING)
        place = known.index(first) if first in known else len(known)
        return place, self.name, self.structure, self.robust


def category(row: ResultRow) -> Category:
    """That of a run, from its spec (``Store.with_specs``)."""
    found = [_told(step) for step in (row.get("spec") or {}).get("recipe", ())]
    families = in_order([one.families[0] for one in found])
    others = [one for one in families if one != "training"]
    return Category(
        families=tuple(others or families),
        structures=tuple(in_order([name for one in found for name in one.structures])),
        robust=any(one.robust for one in found),
        defences=tuple(in_order([name for one in found for name in one.defences])),
    )


def defending_steps(row: ResultRow) -> tuple[Step, ...]:
    """The steps of a run that the review calls a defence."""
    steps = (row.get("spec") or {}).get("recipe", ())
    return tuple(Step.model_validate(step) for step in steps if _told(step).defences)


def _told(step: Mapping[str, Any]) -> Category:
    """What the catalogue says of one step."""
    try:
        own = Step.model_validate(step)
        family, settings = own.family, own.settings
    except (CrumpleError, ValueError):
        return Category((UNKNOWN,))
    structure, defence = settings.pruned_structure(), settings.defends_by()
    return Category(
        families=(family,),
        structures=(structure,) if structure else (),
        robust=settings.trains_robustly(),
        defences=(defence,) if defence else (),
    )
