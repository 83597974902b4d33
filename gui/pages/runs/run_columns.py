"""The columns of the results table: title, text, order and explanation of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.catalog import format_number
from engine.flags import FlagRow
from engine.report.tables import of_correct, perturbation, with_interval
from engine.statistics.words import in_percent
from engine.store import Columns
from engine.store.run_table import RunTable
from gui.base.model_names import model_title

Sort = Callable[[RunTable], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class RunColumn:
    """One column.

    Attributes:
        id: name in the settings.
        text: what the cell shows.
        sort: numbers to sort all runs by; NaN sorts last.
        number: whether cells stand at the right.
        shown: whether it is shown unless the person chose otherwise.
    """

    id: str
    title: str
    hint: str
    text: Callable[[Columns], str]
    sort: Sort
    number: bool = True
    shown: bool = True


def _plain(name: str) -> Callable[[Columns], str]:
    return lambda row: "" if row[name] is None else str(row[name])


def _format(name: str, spec: str) -> Callable[[Columns], str]:
    return lambda row: "" if row[name] is None else format(row[name], spec)


def _share(name: str) -> Callable[[Columns], str]:
    return lambda row: in_percent(row[name])


def _by_number(name: str) -> Sort:
    return lambda table: table.numbers(name)


def _by_text(name: str, words: Callable[[Any], str] = str) -> Sort:
    def key(value: Any) -> str | None:
        return words(value).casefold() if value else None

    return lambda table: table.ranks(name, key)


def _text(id_: str, title: str, hint: str, *, shown: bool = True) -> RunColumn:
    return RunColumn(id_, title, hint, _plain(id_), _by_text(id_), number=False, shown=shown)


def _number(id_: str, title: str, hint: str, spec: str, *, shown: bool = True) -> RunColumn:
    return RunColumn(id_, title, hint, _format(id_, spec), _by_number(id_), shown=shown)


def _percent(id_: str, title: str, hint: str, *, shown: bool = True) -> RunColumn:
    return RunColumn(id_, title, hint, _share(id_), _by_number(id_), shown=shown)


def _when(id_: str, title: str, hint: str) -> RunColumn:
    def text(row: Columns) -> str:
        return str(row[id_] or "")[:16].replace("T", " ")

    def sort(table: RunTable) -> npt.NDArray[np.float64]:
        return table.moments(id_)

    return RunColumn(id_, title, hint, text, sort, number=False, shown=False)


def _by_perturbation(table: RunTable) -> npt.NDArray[np.float64]:
    is_l2 = table.where(("norm",), lambda row: row["norm"] == "L2")
    means = (table.numbers(f"avg_perturbation_{norm}") for norm in ("l2", "linf"))
    return np.where(is_l2, *means)


def size_text(count: float | None) -> str:
    """Bytes as people read them: ``310 kB``."""
    if count is None:
        return ""
    power = 0 if count < 1000 else min(int(math.log10(count) / 3), 3)
    digits = "{:.0f}" if power == 0 else "{:.3g}"
    return f"{digits.format(count / 1000**power)} {('B', 'kB', 'MB', 'GB')[power]}"


def _eps(row: Columns) -> str:
    return "" if row["eps"] is None else format_number(row["eps"])


def flag_words(row: Columns) -> str:
    """The flags of a run in words, one sentence a line."""
    return "\n".join(flag["text"] for flag in row["flags"])


def _flag_ids(flags: Iterable[FlagRow]) -> str:
    return ", ".join(flag["id"] for flag in flags)


COLUMNS: tuple[RunColumn, ...] = (
    _number("run_id", "Run", "Number of the run.", "d"),
    RunColumn(
        "model",
        "Model",
        "The base model; its id stands in the tool tip, in study files and in filters.",
        lambda row: model_title(row["model"]),
        _by_text("model", model_title),
        number=False,
    ),
    _text("compression", "Compression", "The steps from the base model to the variant."),
    _text("attack", "Attack", "The attack and its main parameters."),
    _percent("clean_accuracy", "Clean %", "Share of the images classified correctly, unattacked."),
    RunColumn(
        "robust_accuracy",
        "Robust % [95 %]",
        "Share of all images that hold under attack, with its 95 % Wilson interval; of an attack "
        "without eps the median distance of its examples, in its norm.",
        with_interval,
        _by_number("robust_accuracy"),
    ),
    _percent(
        "worst_case",
        "Worst %",
        "Share of all images that survive every stored attack on the variant in this threat model, "
        "and every transferred example: the figure to quote.",
        shown=False,
    ),
    RunColumn(
        "robust_of_correct",
        "Of correct % [95 %]",
        "Of the images that were right before the attack the share that holds, robust / clean: "
        "what papers give that attack these images alone.",
        of_correct,
        _by_number("robust_of_correct"),
        shown=False,
    ),
    _number("compression_rate", "Rate", "Size of the base model over size of the variant.", ".2f"),
    RunColumn(
        "size_bytes",
        "Size",
        "Packed size of the variant's weights.",
        lambda row: size_text(row["size_bytes"]),
        _by_number("size_bytes"),
    ),
    _text("status", "Status", "Waiting, running, finished, failed or cancelled."),
    _text("tags", "Tags", "Your own words for this run."),
    RunColumn(
        "model_id",
        "Model id",
        "The base model as study files name it.",
        lambda row: str(row["model"]),
        _by_text("model"),
        number=False,
        shown=False,
    ),
    _text("study", "Study", "The study the run belongs to.", shown=False),
    _text("dataset", "Dataset", "Where the images come from.", shown=False),
    _number("n", "Images", "Images attacked.", "d", shown=False),
    RunColumn("eps", "eps", "Radius of the threat model.", _eps, _by_number("eps"), shown=False),
    _text("norm", "Norm", "Norm that eps is measured in.", shown=False),
    _number("parameters", "Parameters", "Parameters of the variant.", ",d"),
    _number("nonzero_parameters", "Nonzero", "Parameters that are not zero.", ",d", shown=False),
    _percent("achieved_sparsity", "Sparsity %", "Share of weights that are zero.", shown=False),
    _number("weight_bits", "Bits", "Mean bits of a weight.", ".3g", shown=False),
    _number(
        "median_distance",
        "Median distance",
        "Of attacks without eps, over all images, in the norm of the attack.",
        ".4f",
        shown=False,
    ),
    RunColumn(
        "perturbation",
        "Perturbation",
        "Mean over the images the attack broke, in the norm of the attack.",
        perturbation,
        _by_perturbation,
    ),
    _number(
        "avg_perturbation_l2", "Mean L2", "Over the images the attack broke.", ".3f", shown=False
    ),
    _number(
        "avg_perturbation_linf",
        "Mean Linf",
        "Over the images the attack broke.",
        ".4f",
        shown=False,
    ),
    _percent(
        "transfer_accuracy",
        "Transfer %",
        "Robust accuracy under examples made on the base model.",
        shown=False,
    ),
    _percent(
        "black_box_accuracy",
        "Gradient-free %",
        "Robust accuracy of the first images under an attack without gradients.",
        shown=False,
    ),
    _percent(
        "naive_accuracy",
        "Naive %",
        "Robust accuracy under the same attack where it does not adapt to a defence; the robust "
        "accuracy is that under the attack that does.",
        shown=False,
    ),
    _number(
        "queries_per_sample",
        "Queries",
        "Forward and backward passes per image.",
        ".1f",
        shown=False,
    ),
    _number("seconds", "Seconds", "Time of the attack.", ".1f", shown=False),
    RunColumn(
        "flags",
        "Flags",
        "What speaks against the number.",
        lambda row: _flag_ids(row["flags"]),
        _by_text("flags", _flag_ids),
        number=False,
        shown=False,
    ),
    _number("seed", "Seed", "Seed of the run.", "d", shown=False),
    _text("note", "Note", "Your note on this run.", shown=False),
    _when("created", "Queued", "When it was queued, UTC."),
    _when("finished", "Ended", "When it ended, UTC."),
)
