"""Results and samples as text for people and files for programs."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import SpecError
from engine.report.cells import csv_text, markdown, one_line
from engine.report.naming import shortened
from engine.statistics.words import in_percent
from engine.store import MORE_COLUMNS, RESULT_COLUMNS, SAMPLE_COLUMNS, Columns, ResultRow, SampleRow

RESULT_FORMATS = ("table", "csv", "json", "latex", "markdown")
SAMPLE_FORMATS = ("csv", "json", "npz")

_TABULATE = {"table": "simple", "latex": "latex_booktabs", "markdown": "github"}


def results_text(
    rows: Sequence[ResultRow], format_: str, titles: Mapping[str, str] | None = None
) -> str:
    """Results in one of ``RESULT_FORMATS``, ending in a newline.

    ``csv`` and ``json`` hold every column of the store raw: shares in [0,1], sizes in bytes,
    seconds. The others are for reading: percent, the robust accuracy with its 95 % interval.

    Args:
        rows: of ``Store.results``.
        format_: which.
        titles: what models are called, by id: a column ``model_title`` of ``csv`` and ``json``,
            and the model in the others. None leaves the ids.

    Raises:
        SpecError: no such format.
    """
    told: Sequence[Columns] = rows
    if titles is not None:
        told = [{**row, "model_title": titles.get(row["model"], row["model"])} for row in rows]
    if format_ == "csv":
        more = () if titles is None else ("model_title",)
        return csv_text((*RESULT_COLUMNS, *MORE_COLUMNS, *more), map(_flat, told))
    if format_ == "json":
        return _json(told)
    if format_ in _TABULATE:
        return _for_reading(told, _TABULATE[format_])
    raise _unknown(format_, RESULT_FORMATS)


def samples_bytes(
    rows: Sequence[SampleRow], images: Mapping[str, NDArray[Any]], format_: str
) -> bytes:
    """Samples of one run in one of ``SAMPLE_FORMATS``.

    Args:
        rows: one per image, with ``SAMPLE_COLUMNS``.
        images: index (K,), clean and adversarial (K,C,H,W) in [0,1]; only npz holds them.
        format_: npz has one array per column and ``image_index``, ``clean``, ``adversarial``.

    Raises:
        SpecError: no such format.
    """
    if format_ == "csv":
        return csv_text(SAMPLE_COLUMNS, rows).encode()
    if format_ == "json":
        return _json(rows).encode()
    if format_ == "npz":
        return _npz(rows, images)
    raise _unknown(format_, SAMPLE_FORMATS)


def _unknown(format_: str, known: Sequence[str]) -> SpecError:
    return SpecError(f"There is no format {format_!r}.", f"Known: {', '.join(known)}.")


def _flat(row: Columns) -> dict[str, Any]:
    return {**row, "flags": flag_ids(row)}


def flag_ids(row: Columns) -> str:
    """The ids of a run's flags, joined by semicolons."""
    return ";".join(flag["id"] for flag in row["flags"])


def _json(rows: Sequence[Columns]) -> str:
    # NaN and infinity are no JSON; readers other than Python's refuse the whole file.
    finite = [{key: _finite(value) for key, value in row.items()} for row in rows]
    return json.dumps(finite, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _npz(rows: Sequence[SampleRow], images: Mapping[str, NDArray[Any]]) -> bytes:
    arrays: dict[str, Any] = {
        **{name: np.array([_value(row, name) for row in rows]) for name in SAMPLE_COLUMNS},
        "image_index": images["index"],
        "clean": images["clean"],
        "adversarial": images["adversarial"],
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _value(row: Columns, name: str) -> Any:
    return row[name]


def with_interval(row: Columns) -> str:
    """The robust accuracy of a run in percent with its interval: ``63.2 [59.0, 67.3]``.

    Of an attack without eps its median distance, ``L2 0.524``: no share of images is its result.
    """
    if row["robust_accuracy"] is None:
        return distance(row)
    if row["ci_low"] is None or row["ci_high"] is None:
        return in_percent(row["robust_accuracy"])
    interval = f"[{in_percent(row['ci_low'])}, {in_percent(row['ci_high'])}]"
    return f"{in_percent(row['robust_accuracy'])} {interval}"


def distance(row: Columns) -> str:
    """The median distance of an attack without eps, in its norm; a dash if it has none."""
    if row["status"] != "finished" or row["eps"] is not None:
        return ""
    median = row.get("median_distance")
    return "–" if median is None else f"{row['norm']} {median:.3g}"


def result_words(row: Columns) -> str:
    """What an attack found: ``robust 63.2 [59.0, 67.3] %`` or ``median distance L2 0.524``."""
    if row["robust_accuracy"] is None:
        return f"median distance {distance(row)}"
    return f"robust {with_interval(row)} %"


def _number(name: str, digits: str) -> Callable[[Columns], str]:
    def cell(row: Columns) -> str:
        return "" if row[name] is None else format(row[name], digits)

    return cell


def _plain(name: str) -> Callable[[Columns], str]:
    def cell(row: Columns) -> str:
        return "" if row[name] is None else one_line(str(row[name]))

    return cell


_COLUMNS: dict[str, Callable[[Columns], str]] = {
    "run": _plain("run_id"),
    "dataset": _plain("dataset"),
    "n": _plain("n"),
    "model": lambda row: one_line(str(row.get("model_title") or row["model"] or "")),
    "compression": _plain("compression"),
    "rate": _number("compression_rate", ".2f"),
    "bytes": _number("size_bytes", ",d"),
    "attack": _plain("attack"),
    "clean %": lambda row: in_percent(row["clean_accuracy"]),
    "robust % [95 %]": with_interval,
    "queries": _number("queries_per_sample", ".1f"),
    "seconds": _number("seconds", ".1f"),
    "flags": flag_ids,
    "status": _plain("status"),
}


_NUMERIC = {"run", "n", "rate", "bytes", "clean %", "robust % [95 %]", "queries", "seconds"}


def _for_reading(rows: Sequence[Columns], style: str) -> str:
    from tabulate import tabulate

    short = shortened(rows)
    rows = [{**row, "compression": short.get(row["compression"], "")} for row in rows]
    cells = [[cell(row) for cell in _COLUMNS.values()] for row in rows]
    numeric = [name in _NUMERIC for name in _COLUMNS]
    if style == "github":
        cells = [
            [text if number else markdown(text) for text, number in zip(line, numeric, strict=True)]
            for line in cells
        ]
    align = ["right" if number else "left" for number in numeric]
    text: str = tabulate(cells, list(_COLUMNS), style, disable_numparse=True, colalign=align)
    return text + "\n"
