"""A description says all that an entry says: every built-in method survives the way and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from engine import catalog
from engine.catalog import Entry, Origin, Params
from engine.extensions.description import Description, describe, entry_of
from engine.extensions.methods import AttackMethod, CompressionMethod

ORIGIN = Origin(name="x.py", sha256="1" * 64)
NOT = ("torchattacks.Pixle", "qat")
"""A pair of numbers is no field of a form, and ``steps`` no name for a parameter of a step."""
BUILT_IN = [
    (kind, entry)
    for kind, section in ((AttackMethod, "attacks"), (CompressionMethod, "compressions"))
    for entry in catalog.built_in(section).values()
    if entry.id not in NOT
]
every = pytest.mark.parametrize(
    ("kind", "entry"), BUILT_IN, ids=[entry.id for _, entry in BUILT_IN]
)


def back(entry: Entry, kind: Any) -> Entry:
    """From entry to JSON and back; ids from outside have small letters."""
    method = kind(replace(entry, id=entry.id.lower()), print)
    text = describe(method).model_dump_json()
    return entry_of(Description.model_validate_json(text), ORIGIN)


@every
def test_every_built_in_method_survives(kind: Any, entry: Entry) -> None:
    rebuilt = back(entry, kind)
    for name in ("family", "summary", "paper", "limits", "norm", "traits", "parts", "formula"):
        assert getattr(rebuilt, name) == getattr(entry, name)
    assert rebuilt.origin == ORIGIN
    assert rebuilt.params().model_dump() == entry.params().model_dump()
    schema, again = (one.params.model_json_schema()["properties"] for one in (entry, rebuilt))
    assert again == schema
    assert rebuilt.params.idle({}) == entry.params.idle({})
    assert rebuilt.params.cuts == entry.params.cuts
    assert rebuilt.params().needs_images() == entry.params().needs_images()


@every
def test_bounds_and_kinds_hold_in_both(kind: Any, entry: Entry) -> None:
    rebuilt = back(entry, kind).params
    values = (-1, 0, 0.5, 1, 3, 1e9, "8/255", "yes", True, None, float("nan"))
    for name in entry.params.model_fields:
        for value in values:
            theirs, ours = _taken(rebuilt, {name: value}), _taken(entry.params, {name: value})
            # Rules between parameters, and of names of models, the code itself keeps.
            assert theirs == ours or ours == "rule" or "teacher" in name, (name, value)


def _taken(params: type[Params], given: dict[str, Any]) -> object:
    try:
        return params.model_validate(given).model_dump()
    except ValidationError as error:
        return "refused" if error.errors()[0]["loc"] else "rule"


def test_what_a_stranger_claims_is_no_evidence() -> None:
    entry = catalog.find("attacks", "autoattack")
    assert entry.kinds
    assert not back(entry, AttackMethod).kinds


def test_labels_tell_what_differs_and_where_it_is_from() -> None:
    entry = back(catalog.find("attacks", "pgd"), AttackMethod)
    made = entry.params.model_validate({"eps": "4/255", "steps": 10, "random_start": False})
    assert entry.label(made) == "pgd 4/255 steps=10 random_start=False [x.py 1111111]"
    assert entry.label(entry.params()) == "pgd 8/255 [x.py 1111111]"
