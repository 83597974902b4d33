"""The catalogue as text and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from tabulate import tabulate

from engine import catalog
from engine.catalog import Entry
from engine.catalog.models.offers import Offer, offers


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


def published_json() -> str:
    """The published weights; what their package does not state is null or empty."""
    return json.dumps([_offer_dict(one) for one in _published()], indent=2) + "\n"


def published_text() -> str:
    """The published weights as a table for reading."""
    rows = [_offer_cells(one) for one in _published()]
    head = ("name", "dataset", "parameters", "MB", "clean", "robust", "licence", "state")
    right = ("left", "left", "right", "right", "right", "left", "left", "left")
    return f"{tabulate(rows, headers=head, colalign=right, disable_numparse=True)}\n"


def _published() -> list[Offer]:
    return [one for one in offers(catalog.models.cards.cards()) if one.published]


def _offer_dict(offer: Offer) -> dict[str, Any]:
    weights = offer.published
    assert weights is not None
    robust = weights.robust
    return {
        "name": weights.name,
        "dataset": weights.dataset,
        "image_size": weights.crop,
        "parameters": weights.parameters,
        "download_bytes": weights.size_bytes,
        "training": offer.training,
        "clean_accuracy": weights.clean_accuracy,
        "robust_accuracy": robust.accuracy if robust else None,
        "norm": robust.norm if robust else "",
        "eps": robust.eps if robust else "",
        "evaluation": robust.evaluation if robust else "",
        "stated_by": weights.stated_by,
        "licence": weights.licence,
        "source": weights.source,
        "state": offer.state,
        "model": offer.card.id if offer.card else "",
    }


def _offer_cells(offer: Offer) -> tuple[str, ...]:
    weights = offer.published
    assert weights is not None
    robust, clean, size = weights.robust, weights.clean_accuracy, weights.size_bytes
    return (
        weights.name,
        weights.dataset,
        f"{weights.parameters:,}",
        f"{size / 1e6:.0f}" if size else "",
        f"{clean:.1%}" if clean is not None else "",
        f"{robust.accuracy:.1%} at {robust.norm} {robust.eps}" if robust else "",
        weights.licence or "not stated",
        offer.state,
    )
