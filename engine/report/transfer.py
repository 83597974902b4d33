"""The transfer matrix: how the examples of one variant fare on the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.errors import SpecError
from engine.report.cells import csv_text, one_line
from engine.report.naming import namer
from engine.statistics.words import in_percent
from engine.store import TRANSFER_COLUMNS, Columns, TransferRow

TRANSFER_FORMATS = ("table", "csv", "json")


@dataclass(frozen=True)
class Matrix:
    """Runs that differ in the variant alone, each as source and as target.

    Attributes:
        title: the attack, and the images where that is needed to tell matrices apart.
        runs: what each run is called, by run id, in order.
        cells: rows of ``Store.transfers`` by source and target run; some may be missing.
    """

    title: str
    runs: Mapping[int, str]
    cells: Mapping[tuple[int, int], TransferRow]

    def images(self) -> str:
        """How many images the rates are over, in words."""
        counts = [row["n"] for row in self.cells.values() if row["n"] is not None]
        if not counts:
            return "no pair is judged"
        low, high = min(counts), max(counts)
        return f"n = {low} images" if low == high else f"n = {low} to {high} images a pair"


def matrices(rows: Sequence[TransferRow]) -> list[Matrix]:
    """The pairs as matrices: those with a run in common belong together."""
    home: dict[int, list[TransferRow]] = {}
    for row in rows:
        mine = home.setdefault(row["source_run"], [])
        other = home.setdefault(row["target_run"], mine)
        if other is not mine:
            mine += other
            home = {run: mine if group is other else group for run, group in home.items()}
        mine.append(row)
    groups = list({id(group): group for group in home.values()}.values())
    # Without n: in a result it is the number of images, here those that a rate is over.
    titles = [{key: group[0][key] for key in ("dataset", "attack")} for group in groups]
    return [
        matrix_of(namer(titles, ("dataset", "attack"))(title), group)
        for title, group in zip(titles, groups, strict=True)
    ]


def matrix_of(title: str, group: Sequence[TransferRow]) -> Matrix:
    """These pairs as one matrix."""
    variants = {
        end["run"]: end for row in group for end in (_end(row, "source"), _end(row, "target"))
    }
    name = namer(list(variants.values()), ("model", "compression"))
    return Matrix(
        title,
        {run: name(variant) for run, variant in sorted(variants.items())},
        {(row["source_run"], row["target_run"]): row for row in group},
    )


def transfers_text(rows: Sequence[TransferRow], format_: str) -> str:
    """Pairs in one of ``TRANSFER_FORMATS``, ending in a newline.

    ``csv`` and ``json`` hold every column raw, with shares in [0,1]; ``table`` is for reading,
    in percent with 95 % Wilson intervals.

    Raises:
        SpecError: no such format.
    """
    if format_ == "csv":
        return csv_text(TRANSFER_COLUMNS, rows)
    if format_ == "json":
        told = [
            {name: value for name, value in row.items() if name in TRANSFER_COLUMNS} for row in rows
        ]
        return json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if format_ == "table":
        return _table(rows)
    known = ", ".join(TRANSFER_FORMATS)
    raise SpecError(f"There is no format {format_!r}.", f"Known: {known}.")


def _table(rows: Sequence[TransferRow]) -> str:
    from tabulate import tabulate

    titles = ("attack", "source", "target", "n", "transfer % [95 %]", "kept", "accuracy % [95 %]")
    cells = [
        [
            one_line(row["attack"]),
            _end_words(_end(row, "source")),
            _end_words(_end(row, "target")),
            _whole(row["n"]),
            interval(row, "transfer_rate", "rate")
            if row["status"] != "failed"
            else one_line(row["message"] or ""),
            _whole(row["kept"]),
            interval(row, "accuracy", "accuracy"),
        ]
        for row in rows
    ]
    align = ("left", "left", "left", "right", "right", "right", "right")
    text: str = tabulate(cells, titles, "simple", disable_numparse=True, colalign=align)
    return text + "\n"


def _end(row: Columns, end: str) -> Columns:
    """Run, model, compression and recipe at one end of a pair."""
    names = ("run", "model", "model_title", "compression", "recipe")
    return {name: row.get(f"{end}_{name}") for name in names}


def _end_words(end: Columns) -> str:
    return one_line(f"{end['run']}: {end['model']}, {end['compression']}")


def _whole(count: int | None) -> str:
    return "" if count is None else str(count)


def interval(row: Columns, share: str, prefix: str) -> str:
    """A share of a pair in percent with its interval: ``63.2 [59.0, 67.3]``; empty without one."""
    if row[share] is None:
        return ""
    ends = f"[{in_percent(row[f'{prefix}_low'])}, {in_percent(row[f'{prefix}_high'])}]"
    return f"{in_percent(row[share])} {ends}"
