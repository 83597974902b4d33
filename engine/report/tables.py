"""Results and samples as text for people and files for programs."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import SpecError
from engine.report import cells
from engine.report.cells import csv_pieces, csv_text, in_pieces, markdown, one_line
from engine.report.naming import shortened
from engine.statistics.intervals import wilson
from engine.statistics.words import in_percent
from engine.store import SAMPLE_COLUMNS, Columns, SampleRow
from engine.store.result_rows import VALUES

RESULT_FORMATS = ("table", "csv", "json", "latex", "markdown")
_TITLE = "model_title"
SAMPLE_FORMATS = ("csv", "json", "npz")

_MEANS = ("L2", "Linf")
"""The norms of which means are stored."""

_TABULATE = {"table": "simple", "latex": "latex_booktabs", "markdown": "github"}


def results_text(
    rows: Iterable[Columns], format_: str, titles: Mapping[str, str] | None = None
) -> str:
    """Results in one of ``RESULT_FORMATS``, ending in a newline.

    ``csv`` and ``json`` hold every column of the store raw: shares in [0,1], sizes in bytes,
    seconds. The others are for reading: percent, the robust accuracy with its 95 % interval.

    Args:
        rows: of ``Store.results``; ``json`` holds what else they have, too.
        format_: which.
        titles: what models are called, by id: a column ``model_title`` of ``csv`` and ``json``,
            and the model in the others. None leaves the ids.

    Raises:
        SpecError: no such format.
    """
    return "".join(result_pieces(rows, format_, titles))


def result_pieces(
    rows: Iterable[Columns], format_: str, titles: Mapping[str, str] | None = None
) -> Iterator[str]:
    """As ``results_text``, in pieces: of ``csv`` and ``json`` no row is kept."""
    if format_ == "csv":
        columns = VALUES[:-1] if titles is None else (*VALUES[:-1], _TITLE)
        return csv_pieces(
            columns, ({**row, "flags": flag_ids(row)} for row in _titled(rows, titles))
        )
    if format_ == "json":
        return in_pieces(json_pieces(_titled(rows, titles)))
    return iter((_for_reading(_titled(rows, titles), format_),))


def csv_of_columns(
    parts: Iterable[Mapping[str, Sequence[Any]]], titles: Mapping[str, str] | None
) -> Iterator[str]:
    """The ``csv`` of ``result_pieces`` from columns of some runs at a time.

    Args:
        parts: of ``Store.result_columns``.
        titles: as there.
    """

    def told(part: Mapping[str, Sequence[Any]]) -> list[Sequence[Any]]:
        columns = {
            **part,
            "flags": [flag_ids({"flags": own}) if own else "" for own in part["flags"]],
        }
        if titles is not None:
            columns[_TITLE] = [titles.get(model, model) for model in part["model"]]
        return [columns[name] for name in names]

    names = VALUES[:-1] if titles is None else (*VALUES[:-1], _TITLE)
    return cells.csv_of_columns(names, map(told, parts))


def _titled(rows: Iterable[Columns], titles: Mapping[str, str] | None) -> Iterator[Columns]:
    for row in rows:
        if titles is None:
            yield row
        else:
            yield {**row, _TITLE: titles.get(row["model"], row["model"])}


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
        return "".join(json_pieces(rows)).encode()
    if format_ == "npz":
        return _npz(rows, images)
    raise unknown_format(format_, SAMPLE_FORMATS)


def unknown_format(format_: str, known: Sequence[str]) -> SpecError:
    """The error that names the formats there are."""
    return SpecError(f"There is no format {format_!r}.", f"Known: {', '.join(known)}.")


def flag_ids(row: Columns) -> str:
    """The ids of a run's flags, joined by semicolons."""
    return ";".join(flag["id"] for flag in row["flags"])


def json_pieces(rows: Iterable[Columns]) -> Iterator[str]:
    """The list as ``json.dumps(..., indent=2)`` writes it, row by row."""
    begin = "[\n"
    for row in rows:
        pairs = (f"    {_encoded(name)}: {_encoded(value)}" for name, value in row.items())
        yield f"{begin}  {{\n" + ",\n".join(pairs) + "\n  }"
        begin = ",\n"
    yield "[]\n" if begin == "[\n" else "\n]\n"


def _encoded(value: Any) -> str:
    """A value of a row. NaN and infinity are no JSON; other readers would refuse the file."""
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "null"
    if type(value) in (int, float):
        return repr(value)
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return text.replace("\n", "\n    ")


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


def of_correct(row: Columns) -> str:
    """Of the images that were right before the attack the share that holds, with its interval.

    The images count that the accuracies say; 95 % Wilson, as of a study of these images alone.
    """
    share, n, clean = row["robust_of_correct"], row["n"], row["clean_accuracy"]
    if share is None or not n:
        return ""
    correct = max(round(clean * n), 1)
    low, high = wilson(min(round(share * correct), correct), correct)
    return f"{in_percent(share)} [{in_percent(float(low))}, {in_percent(float(high))}]"


def perturbation(row: Columns) -> str:
    """Mean over the images that the attack broke, and its norm: ``0.52 L2``; empty without any.

    The number stands first, so that a page can sort by it.
    """
    mean = row[f"avg_perturbation_{str(row['norm']).lower()}"] if row["norm"] in _MEANS else None
    return "" if mean is None else f"{mean:.3g} {row['norm']}"


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
    "parameters": _number("parameters", ",d"),
    "bytes": _number("size_bytes", ",d"),
    "attack": _plain("attack"),
    "seed": _plain("seed"),
    "clean %": lambda row: in_percent(row["clean_accuracy"]),
    "robust % [95 %]": with_interval,
    "of correct % [95 %]": of_correct,
    "worst %": lambda row: in_percent(row.get("worst_case")),
    "perturbation": perturbation,
    "queries": _number("queries_per_sample", ".1f"),
    "seconds": _number("seconds", ".1f"),
    "flags": flag_ids,
    "status": _plain("status"),
}


_VARIANT = list(_COLUMNS).index("compression")
_SEED = list(_COLUMNS).index("seed")
_NUMERIC = {
    "run",
    "n",
    "seed",
    "rate",
    "bytes",
    "clean %",
    "parameters",
    "robust % [95 %]",
    "of correct % [95 %]",
    "worst %",
    "perturbation",
    "queries",
    "seconds",
}


def _for_reading(rows: Iterable[Columns], format_: str) -> str:
    lines: list[list[str]] = []
    variants: dict[str, Columns] = {}
    for row in rows:
        label = row["compression"] or ""
        variants.setdefault(label, {"compression": label, "recipe": row.get("recipe")})
        lines.append([cell(row) for cell in _COLUMNS.values()])
        lines[-1][_VARIANT] = label
    short = shortened(variants.values())
    for line in lines:
        line[_VARIANT] = one_line(short.get(line[_VARIANT], ""))
    head = list(_COLUMNS)
    if len({line[_SEED] for line in lines}) < 2:
        for line in (head, *lines):
            del line[_SEED]
    return tabulated(head, lines, _NUMERIC, format_)


def tabulated(
    head: Sequence[str], lines: Sequence[Sequence[str]], numeric: Container[str], format_: str
) -> str:
    """Cells for reading as one of the formats that are no data: table, latex, markdown.

    Args:
        head: the names of the columns.
        lines: their cells, row by row.
        numeric: the columns whose cells stand at the right.
        format_: which.

    Raises:
        SpecError: no such format.
    """
    from tabulate import tabulate

    if format_ not in _TABULATE:
        raise unknown_format(format_, RESULT_FORMATS)
    numbers = [name in numeric for name in head]
    if format_ == "markdown":
        lines = [
            [text if number else markdown(text) for text, number in zip(line, numbers, strict=True)]
            for line in lines
        ]
    align = ["right" if number else "left" for number in numbers]
    text: str = tabulate(
        lines, list(head), _TABULATE[format_], disable_numparse=True, colalign=align
    )
    return text + "\n"
