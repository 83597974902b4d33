"""Names of series, variants and attacks: only the words in which the drawn runs differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from engine.report.cells import one_line

Row = Mapping[str, Any]
Namer = Callable[[Row], str]

BASE = "none"
"""The variant that is the base model itself."""

_SETTING = re.compile(r" \w+=\S+")
"""A parameter that a label of a step spells out, such as `` batch_size=64``."""

_CONTEXT = ("study", "dataset", "n", "seed")


def namer(rows: Sequence[Row], fields: Sequence[str]) -> Namer:
    """A function that names a row by those of its fields that are not the same everywhere.

    Study, dataset, number of images and seed are added where they differ, so that runs which
    cannot be compared never share a name. If all fields agree, the last one is the name.
    """
    shown = [name for name in (*fields, *_CONTEXT) if len({row.get(name) for row in rows}) > 1]
    shown = shown or [fields[-1]]
    short = shortened(str(row.get("compression")) for row in rows)

    def name(row: Row) -> str:
        values = (row.get(field) for field in shown)
        words = ", ".join(
            short.get(str(value), str(value)) if field == "compression" else _text(field, value)
            for field, value in zip(shown, values, strict=True)
        )
        return one_line(words)

    return name


def shortened(compressions: Iterable[str]) -> dict[str, str]:
    """From the label of each variant to one without spelled-out parameters.

    Labels that would become equal keep theirs.
    """
    labels = set(compressions)
    plain = {label: _SETTING.sub("", label) for label in labels}
    count = Counter(plain.values())
    return {label: text if count[text] == 1 else label for label, text in plain.items()}


def _text(field: str, value: Any) -> str:
    return f"{field}={value}" if field in ("n", "seed") else str(value)


def in_order(names: Sequence[str]) -> list[str]:
    """The names, each once, in order of first appearance."""
    return list(dict.fromkeys(names))


def is_flagged(row: Row) -> bool:
    """Whether a run carries a flag of level danger."""
    return any(flag["level"] == "danger" for flag in row["flags"])
