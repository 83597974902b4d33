"""Published rows as text for people and files for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from engine.catalog import format_number
from engine.errors import SpecError
from engine.report.cells import csv_text, one_line
from engine.report.published.arithmetic import exact
from engine.report.published.join import Pair
from engine.report.published.result_flags import flags_of
from engine.report.published.rows import PublishedRow
from engine.report.published.size_flags import true_rate
from engine.report.tables import flag_ids, json_pieces, tabulated
from engine.statistics.words import in_percent
from engine.store import Columns

PUBLISHED_FORMATS = ("table", "csv", "json", "markdown")

COLUMNS = (
    "source",
    "kind",
    "year",
    "title",
    "address",
    "place",
    "quoted_from",
    "label",
    "system",
    "method",
    "training",
    "stage",
    "dataset",
    "architecture",
    "teacher",
    "pruned",
    "structured",
    "bits",
    "compression_rate",
    "stated_rate",
    "stated_parameters",
    "attack",
    "attack_setting",
    "eps",
    "norm",
    "clean_accuracy",
    "robust_accuracy",
    "n",
    "n_stated",
    "n_basis",
    "ci_low",
    "ci_high",
    "flags",
    "remark",
)
"""Of ``csv`` and ``json``: shares in [0,1], eps in [0,1] images; None where it is not known."""


def of_system(rows: Sequence[PublishedRow], system: str) -> list[PublishedRow]:
    """The rows of a system, by its name or by the id of the method that it is.

    Raises:
        SpecError: there are none.
    """
    wanted = system.casefold()
    found = [
        row for row in rows if wanted in (row.model.system.casefold(), row.model.method.casefold())
    ]
    if not found:
        known = ", ".join(sorted({row.model.system for row in rows}, key=str.casefold))
        raise SpecError(f"There is no published system {system!r}.", f"Known: {known}.")
    return found


def columns_of(row: PublishedRow, rows: Sequence[PublishedRow]) -> dict[str, Any]:
    """A row with the names of ``COLUMNS``; ``flags`` as runs have them.

    Args:
        row: one of ``rows``.
        rows: what its flags compare it with.
    """
    model, result, source, ends = row.model, row.result, row.source, row.interval
    return {
        "source": source.id,
        "kind": source.kind,
        "year": source.year,
        "title": source.title,
        "address": source.address,
        "place": row.place,
        "quoted_from": row.quoted_from,
        "label": model.label,
        "system": model.system,
        "method": model.method,
        "training": model.training,
        "stage": model.stage,
        "dataset": row.dataset,
        "architecture": model.architecture,
        "teacher": model.teacher,
        "pruned": model.pruned,
        "structured": model.structured,
        "bits": model.bits,
        "compression_rate": true_rate(model),
        "stated_rate": model.stated_rate,
        "stated_parameters": model.stated_parameters,
        "attack": result.attack,
        "attack_setting": result.setting,
        "eps": row.eps,
        "norm": source.norm,
        "clean_accuracy": None if model.clean is None else float(exact(model.clean) / 100),
        "robust_accuracy": float(exact(result.robust) / 100),
        "n": row.n,
        "n_stated": source.n_stated if row.n else None,
        "n_basis": source.n_basis if row.n else "",
        "ci_low": None if ends is None else ends[0] / 100,
        "ci_high": None if ends is None else ends[1] / 100,
        "flags": [flag.to_dict() for flag in flags_of(row, rows)],
        "remark": model.remark,
    }


def published_text(
    shown: Iterable[PublishedRow], rows: Sequence[PublishedRow], format_: str
) -> str:
    """Rows in one of ``PUBLISHED_FORMATS``, ending in a newline.

    ``table`` and ``markdown`` give the reasons of the flags below the table.

    Args:
        shown: the rows to print.
        rows: all that their flags compare them with, ``shown`` among them.
        format_: which.

    Raises:
        SpecError: no such format.
    """
    told = [columns_of(row, rows) for row in shown]
    if format_ == "csv":
        return csv_text(COLUMNS, ({**row, "flags": flag_ids(row)} for row in told))
    if format_ == "json":
        return "".join(json_pieces(told))
    lines = [[cell(row) for cell in _READ.values()] for row in told]
    table = tabulated(list(_READ), lines, _NUMERIC, format_)
    return table + "".join(f"{line}\n" for line in _reasons(told, format_))


JOINED_COLUMNS = (
    "source",
    "label",
    "system",
    "architecture",
    "compression",
    "published_attack",
    "published_eps",
    "published_n",
    "published_robust_accuracy",
    "published_ci_low",
    "published_ci_high",
    "flags",
    "run_id",
    "study",
    "variant",
    "attack",
    "eps",
    "n",
    "robust_accuracy",
    "ci_low",
    "ci_high",
    "overlap",
    "differences",
)
"""Of pairs in ``csv`` and ``json``; ``overlap`` is None where intervals cannot be compared."""


def joined_text(pairs: Iterable[Pair], rows: Sequence[PublishedRow], format_: str) -> str:
    """Published rows beside runs, in one of ``PUBLISHED_FORMATS``, ending in a newline.

    Args:
        pairs: of ``join.joined``.
        rows: all that flags compare the published ones with.
        format_: which.

    Raises:
        SpecError: no such format.
    """
    told = [pair_columns(pair, rows) for pair in pairs]
    if format_ == "csv":
        return csv_text(
            JOINED_COLUMNS,
            (
                {**row, "flags": flag_ids(row), "differences": " ".join(row["differences"])}
                for row in told
            ),
        )
    if format_ == "json":
        return "".join(json_pieces(told))
    lines = [[cell(row) for cell in READ_PAIR.values()] for row in told]
    table = tabulated(list(READ_PAIR), lines, NUMERIC_PAIR, format_)
    return table + "".join(f"{line}\n" for line in _reasons(told, format_))


def pair_columns(pair: Pair, rows: Sequence[PublishedRow]) -> dict[str, Any]:
    """A pair with the names of ``JOINED_COLUMNS``; ``flags`` as runs have them.

    Args:
        pair: of ``join.joined``.
        rows: what the flags of the published one compare it with.
    """
    there, run = columns_of(pair.row, rows), pair.run
    return {
        **{name: there[name] for name in ("source", "label", "system", "architecture")},
        "compression": compression_words(there),
        "published_attack": there["attack"],
        "published_eps": there["eps"],
        "published_n": there["n"],
        "published_robust_accuracy": there["robust_accuracy"],
        "published_ci_low": there["ci_low"],
        "published_ci_high": there["ci_high"],
        "flags": there["flags"],
        "run_id": run["run_id"],
        "study": run["study"],
        "variant": run["compression"],
        "attack": run["attack"],
        "eps": run["eps"],
        "n": run["n"],
        "robust_accuracy": run["robust_accuracy"],
        "ci_low": run["ci_low"],
        "ci_high": run["ci_high"],
        "overlap": pair.overlap,
        "differences": list(pair.differences),
    }


def _reasons(rows: Sequence[Columns], format_: str) -> Iterator[str]:
    """Each reason once for the row of the source's table that it is of."""
    for (source, label), reasons in reasons_of(rows):
        if format_ == "markdown":
            yield from ("", f"**{label}** ({source})", "")
            yield from (
                f"- `{id_}`: {text}" if id_ else f"- {text}" for text, id_ in reasons.items()
            )
            continue
        yield from ("", f"{label} ({source})")
        for text, id_ in reasons.items():
            yield from textwrap.wrap(
                f"{id_}: {text}" if id_ else text,
                92,
                initial_indent="    ",
                subsequent_indent="      ",
            )


def reasons_of(rows: Sequence[Columns]) -> Iterator[tuple[tuple[str, str], dict[str, str]]]:
    """What is to be said of each row of a source's table, once.

    Yields:
        Source and label, and sentences with the flag that each is the reason of, "" for none.
    """
    for (source, label), group in groupby(rows, lambda row: (row["source"], row["label"])):
        found = list(group)
        flags = {flag["text"]: flag["id"] for row in found for flag in row["flags"]}
        others = {text: "" for row in found for text in row.get("differences", ())}
        if reasons := {**others, **flags}:
            yield (source, label), reasons


def with_interval(row: Columns) -> str:
    """``8.0 [3.2, 18.8]``: percent; without n the figure alone, as it was published."""
    figure = f"{100 * row['robust_accuracy']:.4g}"
    if row["ci_low"] is None:
        return figure
    return f"{figure} [{in_percent(row['ci_low'])}, {in_percent(row['ci_high'])}]"


def compression_words(row: Columns) -> str:
    """What was done to the network: ``99 % pruned``, ``8x``, ``1 bit``, ``from wrn-34-10``."""
    if row["pruned"] is not None:
        structured = ", structured" if row["structured"] else ""
        return f"{100 * row['pruned']:g} % pruned{structured}"
    if row["bits"] is not None:
        return f"{row['bits']} bit{'s' * (row['bits'] > 1)}"
    if row["teacher"]:
        return f"from {row['teacher']}"
    rate = row["compression_rate"]
    return row["stage"] if rate is None else ", ".join(filter(None, (f"{rate:g}x", row["stage"])))


def _sample(row: Columns) -> str:
    return "" if row["n"] is None else f"{row['n']}{'' if row['n_stated'] else '?'}"


_READ: dict[str, Callable[[Columns], str]] = {
    "source": lambda row: row["source"],
    "system": lambda row: row["system"],
    "network": lambda row: row["architecture"],
    "dataset": lambda row: row["dataset"] or "?",
    "compression": compression_words,
    "attack": lambda row: one_line(" ".join(filter(None, (row["attack"], row["attack_setting"])))),
    "eps": lambda row: "?" if row["eps"] is None else format_number(row["eps"]),
    "n": _sample,
    "clean %": lambda row: (
        "" if row["clean_accuracy"] is None else f"{100 * row['clean_accuracy']:.4g}"
    ),
    "robust % [95 %]": with_interval,
    "flags": flag_ids,
}
_OVERLAP = {True: "yes", False: "no", None: "?"}
READ_PAIR: dict[str, Callable[[Columns], str]] = {
    "source": lambda row: row["source"],
    "system": lambda row: row["system"],
    "network": lambda row: row["architecture"],
    "compression": lambda row: row["compression"],
    "published under": lambda row: row["published_attack"],
    "published % [95 %]": lambda row: with_interval(
        {name: row[f"published_{name}"] for name in ("robust_accuracy", "ci_low", "ci_high")}
    ),
    "run": lambda row: str(row["run_id"]),
    "measured under": lambda row: one_line(row["attack"]),
    "measured % [95 %]": with_interval,
    "overlap": lambda row: _OVERLAP[row["overlap"]],
    "flags": flag_ids,
}
"""Columns of pairs for reading, and their text from ``pair_columns``."""
NUMERIC_PAIR = {"published % [95 %]", "run", "measured % [95 %]"}
_NUMERIC = {"eps", "n", "clean %", "robust % [95 %]"}
