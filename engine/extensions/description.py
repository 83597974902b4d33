"""A method in JSON and back: what the window, lists and keys know of it without its code.

Parameters are described by their JSON schema. They are rebuilt from it everywhere, in the
process that attacks too, so that both halves check, write and label them alike; the code itself
gets its own parameter model, with whatever that checks beside.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, ClassVar, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from engine.catalog import Entry, Origin, Params, format_number
from engine.catalog.entry import AttackEntry, Number, setting
from engine.errors import SpecError
from engine.extensions.methods import Method, section_of

SectionName = Literal["attacks", "compressions", "datasets"]

_ID = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_LONGEST_ID, _LONGEST_TEXT = 40, 400
_RESERVED = {"attacks": {"name", "origin"}, "compressions": {"name", "origin", "steps"}}
_NORMS = ("Linf", "L2", "")
_PLAIN = {"number": Number, "integer": int, "boolean": bool, "string": str}
_BOUNDS = {
    **{"minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt"},
    **{"minLength": "min_length", "maxLength": "max_length"},
    **{name: name for name in ("ge", "gt", "le", "lt")},  # so pydantic writes those of a Number
}
_EXTRA = ("unit", "group")
_OURS = ("params", "origin")
"""Fields of an entry that are no plain values."""


class Description(BaseModel):
    """One method.

    Attributes:
        section: of the catalogue.
        entry: fields of the entry.
        parameters: JSON schema of each, by name.
        only_with: as ``Params.only_with``.
        cuts: as ``Params.cuts``.
        needs_images: as ``Params.needs_images`` has it of the defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    section: SectionName
    entry: dict[str, Any]
    parameters: dict[str, dict[str, Any]]
    only_with: dict[str, tuple[str, tuple[Any, ...]]] = {}
    cuts: bool = False
    needs_images: bool = True

    @property
    def id(self) -> str:
        """The name used in study files."""
        return str(self.entry.get("id"))


class OutsideParams(Params):
    """Base of parameter models that are rebuilt from a description."""

    looks_at_images: ClassVar[bool] = True

    def needs_images(self) -> bool:
        """As the code says of its defaults."""
        return self.looks_at_images

    def label(self, title: str) -> str:
        """The radius, then whatever differs from its default."""
        fields = type(self).model_fields
        words = [title]
        eps = getattr(self, "eps", None)
        if isinstance(eps, int | float):
            words.append(format_number(float(eps)))
        words += [
            setting(name, value)
            for name, value in self
            if name != "eps" and value != fields[name].default
        ]
        return " ".join(words)


def describe(method: Method) -> Description:
    """A method in JSON.

    Raises:
        SpecError: its entry breaks a rule, or a parameter is of a kind that forms do not have.
    """
    section, entry = section_of(method), method.entry
    if not isinstance(entry, Entry):
        raise SpecError(f"The entry of a method is {type(entry).__name__} but must be an Entry.")
    _check_params(section, entry)
    fields = {
        name: TypeAdapter(hint).dump_python(getattr(entry, name), mode="json")
        for name, hint in _hints().items()
    }
    fields |= {name: sorted(fields[name]) for name in ("traits", "kinds")}
    conditions: dict[str, Any] = {}
    for base in reversed(entry.params.__mro__):
        conditions |= vars(base).get("only_with", {})
    described = Description(
        section=section,
        entry=fields,
        parameters=entry.params.model_json_schema().get("properties", {}),
        only_with=conditions,
        cuts=entry.params.cuts,
        needs_images=entry.params().needs_images(),
    )
    described = Description.model_validate_json(described.model_dump_json())
    rebuilt = entry_of(described, Origin(name="description", sha256="0" * 64)).params
    again = rebuilt.model_json_schema().get("properties", {})
    for name, schema in described.parameters.items():
        if again.get(name) != schema:
            raise _unknown_kind(entry.id, name)
    return described


def entry_of(described: Description, origin: Origin) -> Entry:
    """The entry that stands in the catalogue; nothing that it claims counts as evidence.

    Raises:
        SpecError: the description breaks a rule.
    """
    given = described.entry
    _check_words(given)
    _check_norm(described)
    fields: dict[str, Any] = {}
    for name, hint in _hints().items():
        if name not in given:
            continue  # written by a version that did not know it
        try:
            fields[name] = TypeAdapter(hint).validate_python(given[name])
        except ValidationError as error:
            what = f"method {given['id']!r}: {name} is {given[name]!r}"
            raise SpecError(f"{what}: {error.errors()[0]['msg']}.") from None
    params = _params_of(described)
    # What a stranger says of its strength makes nothing green; what it breaks counts.
    fields |= {"kinds": frozenset(), "title": f"{given['title']} ({origin.name})"}
    kind = AttackEntry if described.section == "attacks" else Entry
    return kind(**fields, params=params, origin=origin)


def _hints() -> dict[str, Any]:
    known = get_type_hints(Entry, include_extras=True)
    return {f.name: known[f.name] for f in dataclasses.fields(Entry) if f.name not in _OURS}


def _check_words(given: dict[str, Any]) -> None:
    id_ = given.get("id")
    if not isinstance(id_, str) or not _ID.fullmatch(id_) or len(id_) > _LONGEST_ID:
        raise SpecError(
            f"The id of a method is {id_!r} but must be small letters, digits, hyphens and dots, "
            f"at most {_LONGEST_ID}."
        )
    for name in ("title", "family", "summary", "paper", "limits"):
        text = given.get(name, "")
        needed = name in ("title", "family", "summary")
        fits = isinstance(text, str) and len(text) <= _LONGEST_TEXT and (text or not needed)
        if not fits or not (text.isprintable() or not text):
            raise SpecError(
                f"method {id_!r}: {name} must be one line of at most {_LONGEST_TEXT} characters"
                f"{', not empty' if needed else ''}."
            )


def _check_norm(described: Description) -> None:
    norm = described.entry.get("norm", "")
    if norm not in _NORMS:
        raise SpecError(f"method {described.id!r}: norm is {norm!r} but must be Linf, L2 or empty.")


def _check_params(section: str, entry: Entry) -> None:
    if not (isinstance(entry.params, type) and issubclass(entry.params, Params)):
        raise SpecError(f"method {entry.id!r}: params must be a class that extends Params.")
    if section == "datasets" and entry.params.model_fields:
        raise SpecError(f"method {entry.id!r}: a dataset takes no parameters.")
    for name, info in entry.params.model_fields.items():
        if name in _RESERVED.get(section, ()):
            raise SpecError(f"method {entry.id!r}: no parameter may be called {name!r}.")
        if info.is_required():
            raise SpecError(f"method {entry.id!r}: the parameter {name!r} has no default.")


def _unknown_kind(id_: object, name: str) -> SpecError:
    return SpecError(
        f"method {id_!r}: the parameter {name!r} is of a kind that forms do not have.",
        "It may be a number, an integer, true or false, text or a choice (Literal), or None, with "
        "bounds, a title, a description, and a unit and a group.",
    )


def _params_of(described: Description) -> type[Params]:
    fields = {
        name: _field(described.id, name, schema) for name, schema in described.parameters.items()
    }
    made: Any = create_model(
        f"Params of {described.id}",
        __base__=OutsideParams,
        **fields,  # type: ignore[call-overload]
    )
    made.only_with, made.cuts = dict(described.only_with), described.cuts
    made.looks_at_images = described.needs_images
    kind: type[Params] = made
    return kind


def _field(id_: str, name: str, schema: dict[str, Any]) -> tuple[Any, Any]:
    options = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    if len(options) != 1 or "default" not in schema:
        raise _unknown_kind(id_, name)
    (option,) = options
    if "enum" in option or "const" in option:
        annotation: Any = Literal[tuple(option.get("enum", [option.get("const")]))]
    elif option.get("type") in _PLAIN:
        annotation = _PLAIN[option["type"]]
    else:
        raise _unknown_kind(id_, name)
    bounds = {ours: option[theirs] for theirs, ours in _BOUNDS.items() if theirs in option}
    extra = {key: schema[key] for key in _EXTRA if key in schema}
    info = Field(
        schema["default"],
        title=schema.get("title"),
        description=schema.get("description"),
        json_schema_extra=extra or None,
        **bounds,
    )
    return (annotation | None if "anyOf" in schema else annotation), info
