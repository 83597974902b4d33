"""A method, built in or from outside: its entry in the catalogue and what carries it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.catalog import Entry


@dataclass(frozen=True)
class AttackMethod:
    """An attack.

    Attributes:
        entry: what it is called, its parameters, norm and traits.
        make: from its parameters to an ``engine.attacks.base.Attack``: usually the class.
    """

    entry: Entry
    make: Callable[[Any], Any]


@dataclass(frozen=True)
class CompressionMethod:
    """A step of a recipe.

    Attributes:
        entry: what it is called, and its parameters.
        apply: from a model, its parameters and an ``engine.compression.Context`` to the
            compressed model, which may be the one that was given.
    """

    entry: Entry
    apply: Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class DatasetMethod:
    """A dataset.

    Attributes:
        entry: what it is called; it has no parameters.
        open: from an ``engine.specs.dataset.DatasetSpec`` and ``"test"`` or ``"training"`` to an
            ``engine.data.source.Source``, None where there is no such part.
    """

    entry: Entry
    open: Callable[[Any, Any], Any]


Method = AttackMethod | CompressionMethod | DatasetMethod

KINDS: dict[str, type[Method]] = {
    "attacks": AttackMethod,
    "compressions": CompressionMethod,
    "datasets": DatasetMethod,
}
"""By section of the catalogue; the entry points of packages are called ``crumple.SECTION``."""


def section_of(method: Method) -> str:
    """The section of the catalogue that a method stands in."""
    return next(name for name, kind in KINDS.items() if isinstance(method, kind))
