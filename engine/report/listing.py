"""The catalogue as text and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from engine import catalog
from engine.catalog import Entry


def section_json(name: str) -> str:
    """A section of the catalogue; ``parameters`` are JSON schema properties by name."""
    entries = [_entry_dict(entry) for entry in catalog.section(name).values()]
    return json.dumps(entries, indent=2, ensure_ascii=False) + "\n"


def _entry_dict(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "title": entry.title,
        "family": entry.family,
        "summary": entry.summary,
        "paper": entry.paper,
        "limits": entry.limits,
        "norm": entry.norm,
        "origin": entry.origin.model_dump() if entry.origin else None,
        "parameters": entry.params.model_json_schema().get("properties", {}),
    }


def section_text(name: str) -> str:
    """A section of the catalogue for reading: ids, sources, parameters with their defaults."""
    return "".join(
        f"{line}\n" for entry in catalog.section(name).values() for line in _lines(entry)
    )


def _lines(entry: Entry) -> Iterator[str]:
    yield f"{entry.id}  ({entry.title}; {entry.family})"
    if entry.origin:
        yield f"    from outside: {entry.origin.label}"
    for text in (entry.summary, entry.limits, entry.paper):
        if text:
            yield from textwrap.wrap(text, 92, initial_indent="    ", subsequent_indent="    ")
    for field, info in entry.params.model_fields.items():
        yield f"    {field} = {_default(info.default)}  {info.description or ''}".rstrip()


def _default(value: Any) -> str:
    if value is None:
        return "(empty)"
    return catalog.format_number(value) if isinstance(value, float) else json.dumps(value)
