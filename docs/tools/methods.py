"""Attacks, compressions and training recipes, as the catalogue has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from docs.tools.tables import table
from engine import catalog
from engine.catalog import Entry, Params, format_number
from engine.catalog.models.architectures import ARCHITECTURES


def methods(section: str) -> Iterator[str]:
    """All entries of a section of the catalogue under the headings of their families."""
    families: dict[str, list[Entry]] = {}
    for entry in catalog.section(section).values():
        families.setdefault(entry.family, []).append(entry)
    for number, (family, entries) in enumerate(families.items()):
        if len(families) > 1:
            yield from ["", f"## Family: {family}"][not number :]
        for entry in entries:
            yield from _method(entry)


def _method(entry: Entry) -> Iterator[str]:
    yield from ["", f"### {entry.id}", "", f"**{entry.title}.** {entry.summary}"]
    if entry.formula:
        yield from ["", f"`{entry.formula}`"]
    facts = [
        ("Source", entry.paper),
        ("Limits", entry.limits),
        ("Norm", _norm(entry)),
        ("Traits", ", ".join(sorted(entry.traits))),
        ("Counts as evidence", ", ".join(sorted(entry.kinds))),
    ]
    told = [f"- {name}: {text.removesuffix('.')}" for name, text in facts if text]
    if told:
        yield from ["", *told]
    own, shared = _parameters(entry)
    if own:
        yield ""
        yield from table(("parameter", "default", "allowed", "meaning"), own)
    if shared:
        text = ", ".join(f"{name} {default}" for name, default, _, _ in shared)
        yield from ["", f"With the defaults here, as under training recipes: {text}."]


def _norm(entry: Entry) -> str:
    field = entry.params.model_fields.get("norm")
    return "Linf or L2, a parameter" if field else entry.norm


Row = tuple[str, str, str, str]
"""Name, default, what is allowed, meaning."""


def _parameters(entry: Entry) -> tuple[list[Row], list[Row]]:
    """Those to describe, and those that are described with the training recipes."""
    rows = list(_rows(entry.params))
    if entry.id in catalog.section("training"):
        return rows, []
    recipe = catalog.find("training", "trades").params
    taught = {(name, allowed, text) for name, _, allowed, text in _rows(recipe)}
    own = [row for row in rows if (row[0], *row[2:]) not in taught]
    shared = [row for row in rows if row not in own]
    return (own, shared) if entry.id in catalog.section("compressions") else (rows, [])


def _rows(params: type[Params]) -> Iterator[Row]:
    for name, field in params.model_json_schema().get("properties", {}).items():
        unit = f" ({field['unit']})" if field.get("unit") else ""
        bounds = _bounds(params.model_fields[name])
        text = field.get("description", "")
        yield (
            f"`{name}`",
            written(field.get("default")),
            allowed_values(bounds | field),
            f"{text}{unit}",
        )


def _bounds(field: FieldInfo) -> dict[str, Any]:
    """Those that a JSON schema leaves out where a parameter may be empty."""
    names = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
    return {
        word: getattr(one, name)
        for one in field.metadata
        for name, word in names.items()
        if hasattr(one, name)
    }


def written(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{format_number(value)}`"
    return f"`{value}`" if value != "" else "empty"


def allowed_values(field: Mapping[str, Any]) -> str:
    outer = {key: value for key, value in field.items() if key != "anyOf"}
    options = [outer | one for one in field.get("anyOf", [{}]) if one.get("type") != "null"]
    return " or ".join(dict.fromkeys(filter(None, map(_range, options))))


def _range(field: Mapping[str, Any]) -> str:
    if set(field.get("enum", ())) > set(ARCHITECTURES):
        return "`same` or [an architecture](studies.md#students-and-teachers)"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field.get("type") == "boolean":
        return "`true`, `false`"
    low, above = field.get("minimum"), field.get("exclusiveMinimum")
    high, below = field.get("maximum"), field.get("exclusiveMaximum")
    words = [
        f">\u00a0{_number(above)}" if above is not None else "",
        f"≥\u00a0{_number(low)}" if low is not None else "",
        f"<\u00a0{_number(below)}" if below is not None else "",
        f"≤\u00a0{_number(high)}" if high is not None else "",
    ]
    kind = {"integer": "integer", "array": "list", "string": "text"}.get(field.get("type", ""), "")
    return ", ".join(filter(None, [kind, *words]))


def _number(value: float) -> str:
    return f"{value:,.10g}" if value == int(value) else format_number(value)
