"""Arguments of a class as a person writes them, ``depth=20, widths=[16, 32]``; never evaluated.

Torch-free.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import SpecError

_LONGEST = 4000
_SHOWN = 120
_ALLOWED = (
    "Write them as in Python, numbers, texts, True, None, lists, and names of the file itself: "
    "BasicBlock, [3, 3, 3], width=16."
)


@dataclass(frozen=True)
class Name:
    """Something of the file, such as ``BasicBlock`` or ``nn.ReLU``."""

    parts: tuple[str, ...]


@dataclass(frozen=True)
class Arguments:
    """What a class or function is called with.

    Attributes:
        text: as written.
        places: in order; a ``Name`` stands for what the file calls so.
        names: by name.
    """

    text: str = ""
    places: tuple[Any, ...] = ()
    names: Mapping[str, Any] = field(default_factory=dict)

    def within(self, namespace: Mapping[str, Any], file: str) -> tuple[list[Any], dict[str, Any]]:
        """With the names of a file replaced by what they stand for.

        Raises:
            SpecError: the file has no such name.
        """
        places = [_meant(one, namespace, file) for one in self.places]
        return places, {key: _meant(one, namespace, file) for key, one in self.names.items()}


NONE = Arguments()


def parse_arguments(text: str) -> Arguments:
    """Read arguments.

    Raises:
        SpecError: it is no list of arguments, or holds more than values and names.
    """
    text = text.strip()
    try:
        if len(text) > _LONGEST:
            raise ValueError(f"it is longer than {_LONGEST} characters")
        call = ast.parse(f"_({text}\n)", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError("it is no list of arguments")
        if any(one.arg is None for one in call.keywords):
            raise ValueError("** is not taken")
        names = {str(one.arg): _value(one.value) for one in call.keywords}
        if len(names) < len(call.keywords):
            raise ValueError("one name stands there twice")
        return Arguments(text, tuple(map(_value, call.args)), names)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or "it is too deep"
        raise SpecError(f"args is {text[:_SHOWN]!r}: {reason}.", _ALLOWED, field="args") from None


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Name(id=name):
            return Name((name,))
        case ast.Attribute(value=inner, attr=last):
            found = _value(inner)
            if isinstance(found, Name):
                return Name((*found.parts, last))
        case ast.List(elts=parts):
            return [_value(one) for one in parts]
        case ast.Tuple(elts=parts):
            return tuple(_value(one) for one in parts)
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {_value(key): _value(one) for key, one in zip(keys, values, strict=True) if key}
        case _:
            try:
                return ast.literal_eval(node)
            except ValueError:
                pass
    raise ValueError(f"{ast.unparse(node)} is not a value")


def _meant(value: Any, namespace: Mapping[str, Any], file: str) -> Any:
    """A value with the names in it replaced."""
    match value:
        case Name(parts=(first, *rest)):
            try:
                found = namespace[first]
                for part in rest:
                    found = getattr(found, part)
            except (KeyError, AttributeError):
                shown = ".".join(value.parts)
                raise SpecError(
                    f"args names {shown}, which {file} does not have.",
                    f"A text stands in quotes: {shown!r}.",
                    field="args",
                ) from None
            return found
        case list() | tuple():
            return type(value)(_meant(one, namespace, file) for one in value)
        case dict():
            return {key: _meant(one, namespace, file) for key, one in value.items()}
    return value
