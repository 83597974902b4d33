"""What exists: datasets, models, compressions, training and attacks; free of torch.

Forms in the window, ``crumple list``, the documentation and validation all come from here.
"""

from __future__ import annotations

import difflib
from types import ModuleType

from engine.catalog import attacks, compressions, datasets, training
from engine.catalog.datasets import missing_files
from engine.catalog.entry import Entry, Params, Section, Trait, format_number
from engine.catalog.formulas import FORMULAS
from engine.catalog.models import cards
from engine.catalog.models.cards import ModelCard, use_library
from engine.catalog.strict import as_number
from engine.catalog.training import group_of
from engine.errors import SpecError, quoted

SECTIONS = ("datasets", "models", "compressions", "training", "attacks")

__all__ = [
    "FORMULAS",
    "SECTIONS",
    "Entry",
    "ModelCard",
    "Params",
    "Section",
    "Trait",
    "as_number",
    "find",
    "format_number",
    "group_of",
    "missing_files",
    "model_card",
    "section",
    "use_library",
]


def section(name: str) -> Section:
    """One section of the catalogue, by its plural name (see ``SECTIONS``)."""
    modules: dict[str, ModuleType] = {
        "datasets": datasets,
        "models": cards,
        "compressions": compressions,
        "training": training,
        "attacks": attacks,
    }
    entries: Section = modules[name].entries()
    return entries


def find(section_name: str, id_: str) -> Entry:
    """One entry.

    Raises:
        SpecError: no such id; the message lists near names and all that exist.
    """
    known = section(section_name)
    if id_ in known:
        return known[id_]
    near = difflib.get_close_matches(id_, known, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    kind = section_name.rstrip("s") if section_name != "training" else "training recipe"
    raise SpecError(f"There is no {kind} {quoted(id_)}.{guess}", f"Known: {', '.join(known)}.")


def model_card(id_: str) -> ModelCard:
    """The card of a model.

    Raises:
        SpecError: no such model.
    """
    find("models", id_)
    return cards.cards()[id_]
