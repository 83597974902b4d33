"""Labels tell apart what a sweep makes; else its runs would look alike."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from engine import catalog
from engine.catalog import Entry

SWEPT = {
    f"{section} {id_}": entry
    for section in ("attacks", "compressions")
    for id_, entry in catalog.built_in(section).items()
    if not id_.startswith("torchattacks.") and entry.params.model_fields
}
VALUES: tuple[Any, ...] = (0.25, 0.75, 2, 3, 4)


def labels(entry: Entry, name: str) -> list[str]:
    """The labels of the settings that differ in one parameter, for values that it takes."""
    found = []
    for value in VALUES:
        try:
            found.append(entry.label(entry.params.model_validate({name: value})))
        except ValidationError:
            continue
    return found


@pytest.mark.parametrize("title", SWEPT)
def test_the_first_number_of_a_method_is_in_its_label(title: str) -> None:
    entry = SWEPT[title]
    tried = {name: labels(entry, name) for name in entry.params.model_fields}
    first = next(name for name, found in tried.items() if len(found) > 1)
    assert len(set(tried[first])) == len(tried[first]), f"{title}: {first} is not in {tried[first]}"
