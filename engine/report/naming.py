"""Names of series, variants and attacks: only the words in which the drawn runs differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Namer = Callable[[Row], str]

BASE = "none"
"""The variant that is the base model itself."""

_CONTEXT = ("study", "dataset", "n", "seed")


def namer(rows: Sequence[Row], fields: Sequence[str]) -> Namer:
    """A function that names a row by those of its fields that are not the same everywhere.

    Study, dataset, number of images and seed are added where they differ, so that runs which
    cannot be compared never share a name. If all fields agree, the last one is the name.
    """
    shown = [name for name in (*fields, *_CONTEXT) if len({row.get(name) for row in rows}) > 1]
    shown = shown or [fields[-1]]

    def name(row: Row) -> str:
        return ", ".join(_text(field, row.get(field)) for field in shown)

    return name


def _text(field: str, value: Any) -> str:
    return f"{field}={value}" if field in ("n", "seed") else str(value)


def method(row: Row) -> str:
    """What was done to the variant, without how much: ``magnitude + ptq``; or ``BASE``."""
    return " + ".join(step.split()[0] for step in row["compression"].split(" + "))


def in_order(names: Sequence[str]) -> list[str]:
    """The names, each once, in order of first appearance."""
    return list(dict.fromkeys(names))


def is_flagged(row: Row) -> bool:
    """Whether a run carries a flag of level danger."""
    return any(flag["level"] == "danger" for flag in row["flags"])
