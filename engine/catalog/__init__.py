"""What exists: datasets, models, compressions, training and attacks; free of torch.

Forms in the window, ``crumple list``, the documentation and validation all come from here.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Hashable, Mapping
from functools import cache
from types import ModuleType

from engine.catalog import attacks, compressions, datasets, training
from engine.catalog.datasets import missing_files
from engine.catalog.entry import Entry, Params, Section, Trait, format_number
from engine.catalog.formulas import FORMULAS
from engine.catalog.models import cards
from engine.catalog.models.cards import ModelCard, use_library
from engine.catalog.outside import Origin
from engine.catalog.strict import as_number
from engine.catalog.training import group_of
from engine.catalog.worst_case import ENTRY as WORST_CASE
from engine.errors import SpecError, quoted

SECTIONS = ("datasets", "models", "compressions", "training", "attacks")

__all__ = [
    "FORMULAS",
    "SECTIONS",
    "Entry",
    "ModelCard",
    "Origin",
    "Params",
    "Section",
    "Trait",
    "as_number",
    "built_in",
    "find",
    "format_number",
    "group_of",
    "missing_files",
    "model_card",
    "section",
    "state",
    "use_library",
    "use_outside",
]

_outside: dict[str, Section] = {}
_changes = itertools.count(1)
_outside_state = [0]


def use_outside(sections: Mapping[str, Section]) -> None:
    """Offer methods from outside beside the built-in ones; an empty mapping offers none.

    Raises:
        ValueError: one has the id of a built-in method.
    """
    for name, entries in sections.items():
        if taken := built_in(name).keys() & entries:
            raise ValueError(f"built-in ids {sorted(taken)}")
    _outside.clear()
    _outside.update(sections)
    _outside_state[0] = next(_changes)


def state() -> Hashable:
    """Another value when methods or models came or went: what was validated may be wrong then."""
    return _outside_state[0], tuple(cards.entries())


def section(name: str) -> Section:
    """One section of the catalogue, by its plural name (see ``SECTIONS``)."""
    return {**built_in(name), **_outside.get(name, {})}


def built_in(name: str) -> Section:
    """The same without methods from outside; not to be changed."""
    return cards.entries() if name == "models" else _built_once(name)


@cache
def _built_once(name: str) -> Section:
    # Asked for thousands of times while a study is queued; only models come and go.
    modules: dict[str, ModuleType] = {
        "datasets": datasets,
        "compressions": compressions,
        "training": training,
        "attacks": attacks,
    }
    entries: Section = modules[name].entries()
    return entries


def find(section_name: str, id_: str) -> Entry:
    """One entry; also that of the worst case, which is no method on offer.

    Raises:
        SpecError: no such id; the message lists near names and all that exist.
    """
    known = built_in(section_name)
    if id_ in known:
        return known[id_]
    if (section_name, id_) == ("attacks", WORST_CASE.id):
        return WORST_CASE
    known = section(section_name)
    if id_ in known:
        return known[id_]
    near = difflib.get_close_matches(id_, known, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    kind = section_name.rstrip("s") if section_name != "training" else "training recipe"
    way = (
        "Import it (crumple import, or File > Import model…) or train it (crumple train), or name "
        "another. "
        if section_name == "models"
        else ""
    )
    hint = f"{way}Known: {', '.join(known)}."
    raise SpecError(f"There is no {kind} {quoted(id_)}.{guess}", hint)


def model_card(id_: str) -> ModelCard:
    """The card of a model.

    Raises:
        SpecError: no such model.
    """
    find("models", id_)
    return cards.cards()[id_]
