"""Tables of a study file before they are steps: sweeps written as lists, and recipes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from engine.errors import SpecError


def expand(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All combinations of the values given as lists, in order of writing.

    Raises:
        SpecError: a list is empty.

    >>> [t["eps"] for t in expand({"name": "pgd", "eps": [0.1, 0.2]})]
    [0.1, 0.2]
    """
    for key, value in table.items():
        if value == []:
            raise SpecError(f"{key} is an empty list but must hold at least one value.")
    axes = [value if isinstance(value, list) else [value] for value in table.values()]
    for values in itertools.product(*axes):
        yield dict(zip(table, values, strict=True))


def by_name(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A table for each of its names: these may be a sweep, too."""
    named = table["name"]
    return [{**table, "name": one} for one in named] if isinstance(named, list) else [table]


def is_recipe(table: Mapping[str, Any]) -> bool:
    """Whether a table holds several steps: ``steps`` beside a name is a parameter of that."""
    return "steps" in table and "name" not in table


def steps_of(table: Mapping[str, Any]) -> Sequence[Any]:
    """The steps of a table of compressions, swept as they are written: its own or itself."""
    return cast("Sequence[Any]", table["steps"]) if is_recipe(table) else (table,)
