"""Names of series, variants and attacks: only the words in which the drawn runs differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from engine.report.cells import one_line
from engine.store import Columns, ResultRow, TransferRow

Namer = Callable[[Columns], str]
T = TypeVar("T")

BASE = "none"
"""The variant that is the base model itself."""

REPEAT = "repeat"
"""A column that says in words which repeat a run belongs to, where there are several."""

_CONTEXT = ("study", "dataset", "n", "seed")


def titled(rows: Iterable[ResultRow], titles: Mapping[str, str]) -> list[ResultRow]:
    """The rows with what their models are called, which then stands in names for the id.

    Args:
        titles: by id of the model; one that is missing keeps its id.
    """
    return [
        cast(ResultRow, {**row, "model_title": titles.get(row["model"], row["model"])})
        for row in rows
    ]


def titled_pairs(rows: Iterable[TransferRow], titles: Mapping[str, str]) -> list[TransferRow]:
    """As ``titled``, for both ends of pairs."""

    def ends(row: Columns) -> dict[str, str]:
        models = {end: str(row[f"{end}_model"]) for end in ("source", "target")}
        return {f"{end}_model_title": titles.get(model, model) for end, model in models.items()}

    return [cast(TransferRow, {**row, **ends(row)}) for row in rows]


def called(row: Columns) -> str:
    """What the model of a row is called: by its title, if it was given one (``titled``)."""
    return str(row.get("model_title") or row.get("model"))


def variant(row: Columns) -> str:
    """As ``made``; where there are several repeats, with which it is: ``..., seed 2``."""
    return ", ".join([made(row), *([row[REPEAT]] if REPEAT in row else [])])


def made(row: Columns) -> str:
    """``digits-resnet, magnitude 50%``, or ``digits-resnet, uncompressed``."""
    compressed = "uncompressed" if row["compression"] == BASE else row["compression"]
    return f"{called(row)}, {compressed}"


def namer(rows: Sequence[Columns], fields: Sequence[str]) -> Namer:
    """A function that names a row by those of its fields that are not the same everywhere.

    Study, dataset, number of images and seed are added where they differ, so that runs which
    cannot be compared never share a name. If all fields agree, the last one is the name.
    """
    shown = [name for name in (*fields, *_CONTEXT) if len({row.get(name) for row in rows}) > 1]
    shown = shown or [fields[-1]]
    short = shortened(rows)

    def name(row: Columns) -> str:
        values = (row.get(field) for field in shown)
        words = ", ".join(
            short.get(str(value), str(value))
            if field == "compression"
            else called(row)
            if field == "model"
            else _text(field, value)
            for field, value in zip(shown, values, strict=True)
        )
        return one_line(words)

    return name


def shortened(rows: Iterable[Columns]) -> dict[str, str]:
    """From the label of the variant of each row to one without spelled-out parameters.

    Labels that would become equal keep theirs, and so do those of rows without ``recipe``.
    """
    plain: dict[str, str] = {}
    for row in rows:
        label = str(row.get("compression") or "")
        if label and label not in plain:
            plain[label] = _brief(row)
    count = Counter(plain.values())
    return {label: text if count[text] == 1 else label for label, text in plain.items()}


def _brief(row: Columns) -> str:
    recipe = row.get("recipe")
    if recipe is None:
        return str(row.get("compression"))
    return " + ".join(step["brief"] for step in recipe) or BASE


def _text(field: str, value: Any) -> str:
    return f"{field}={value}" if field in ("n", "seed") else str(value)


def in_order(names: Sequence[str]) -> list[str]:
    """The names, each once, in order of first appearance."""
    return list(dict.fromkeys(names))


def is_flagged(row: Columns) -> bool:
    """Whether a run carries a flag of level danger."""
    return any(flag["level"] == "danger" for flag in row["flags"])


def known(value: T | None) -> T:
    """A column that is not empty, as the row was chosen by it."""
    if value is None:
        raise ValueError("a row without the column that it was chosen by")
    return value
