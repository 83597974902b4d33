"""Values as they are written: true is no number, "10" is no 10, and 2.5 is no count.

pydantic is forgiving: it takes true for 1, "yes" for true, "1_0" for 10. In a study that would
be another experiment than the one that was meant. Torch-free.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationInfo, field_validator

_PLAIN = r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"
_FRACTION = re.compile(rf"{_PLAIN}/{_PLAIN}", re.ASCII)
_DECIMAL = re.compile(_PLAIN, re.ASCII)
_SCALARS = (bool, int, float, str)
_MOST_DIGITS = 100

_NO_FRACTION = "is not a number or a fraction such as 8/255"


def as_number(value: Any) -> Any:
    """Read ``"8/255"`` as the number it means; leave what is no text to others.

    Raises:
        ValueError: it is text, but neither a decimal number nor a fraction of two.
    """
    if not isinstance(value, str):
        return value
    if len(value) > _MOST_DIGITS:
        raise ValueError(_NO_FRACTION)
    if _DECIMAL.fullmatch(value):
        return float(value)
    if not _FRACTION.fullmatch(value):
        raise ValueError(_NO_FRACTION)
    numerator, denominator = map(float, value.split("/"))
    if not denominator:
        raise ValueError(_NO_FRACTION)
    return numerator / denominator


class Strict(BaseModel):
    """Base of everything that people write: no value is taken for one of another type.

    Whole numbers may be written with a point (``3.0``), and numbers as fractions (``"8/255"``).
    """

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        allowed = _allowed(cls, info.field_name or "")
        if allowed.each is not None and isinstance(value, list | tuple):
            for element in value:
                _check(element, allowed.each)
        else:
            _check(value, allowed.kinds)
        return value


@dataclass(frozen=True)
class _Allowed:
    """The plain types that a field takes, and those of the elements where it takes a tuple."""

    kinds: frozenset[type] = frozenset()
    each: frozenset[type] | None = None


@cache
def _allowed(model: type[BaseModel], name: str) -> _Allowed:
    field = model.model_fields.get(name)
    if field is None:
        return _Allowed()
    if get_origin(field.annotation) is tuple:
        inside = get_args(field.annotation)[:1]
        return _Allowed(each=_kinds(inside[0]) if inside else frozenset())
    return _Allowed(_kinds(field.annotation))


def _check(value: Any, kinds: frozenset[type]) -> None:
    if not kinds or not isinstance(value, _SCALARS):
        return
    if isinstance(value, bool):
        if bool not in kinds:
            raise ValueError(f"must be {_words(kinds)}, not true or false")
    elif isinstance(value, str):
        if str not in kinds:
            _check_text(value, kinds)
    elif not kinds & {int, float}:
        raise ValueError(f"must be {_words(kinds)}, not a number")
    else:
        _check_size(value, kinds)


def _check_text(value: str, kinds: frozenset[type]) -> None:
    if float not in kinds:
        raise ValueError(f"must be {_words(kinds)}, not text")
    if _DECIMAL.fullmatch(value):
        raise ValueError("must be written without quotes; only fractions such as 8/255 need them")
    as_number(value)


def _check_size(value: float, kinds: frozenset[type]) -> None:
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("is too large") from None
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    if float not in kinds and not number.is_integer():
        raise ValueError("must be an integer")


def _words(kinds: frozenset[type]) -> str:
    names = {float: "a number", int: "an integer", bool: "true or false", str: "text"}
    return next(words for kind, words in names.items() if kind in kinds)


def _kinds(annotation: Any) -> frozenset[type]:
    """The plain types that an annotation allows; empty if it allows more than plain types."""
    if annotation in _SCALARS:
        return frozenset({annotation})
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return frozenset(type(value) for value in inside)
    if origin is Annotated:
        return _kinds(inside[0])
    if origin not in (Union, UnionType):
        return frozenset()
    members = {one: _kinds(one) for one in inside if one is not type(None)}
    return frozenset().union(*members.values()) if all(members.values()) else frozenset()
