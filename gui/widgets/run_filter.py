"""The filter line of the results: words, and comparisons such as ``attack=pgd robust>30``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from engine.catalog import as_number
from engine.store.run_table import RunTable
from gui.base.model_names import model_title

Row = Mapping[str, Any]

HELP = (
    "Words match anywhere; comparisons narrow down a column: "
    "attack=pgd robust>30 model=digits-resnet-at eps<=8/255 tags=paper status!=failed. "
    "Shares are in percent, sizes in bytes; ':' means contains; quotes keep spaces together."
)

_NUMBERS = {
    "id": "run_id",
    "run": "run_id",
    "n": "n",
    "eps": "eps",
    "rate": "compression_rate",
    "size": "size_bytes",
    "nonzero": "nonzero_parameters",
    "bits": "weight_bits",
    "queries": "queries_per_sample",
    "l2": "avg_perturbation_l2",
    "linf": "avg_perturbation_linf",
    **{
        name: name
        for name in (
            "run_id",
            "compression_rate",
            "parameters",
            "nonzero_parameters",
            "size_bytes",
            "seconds",
            "seed",
            "steps",
            "queries_per_sample",
        )
    },
}
_SHARES = {
    "robust": "robust_accuracy",
    "clean": "clean_accuracy",
    "sparsity": "achieved_sparsity",
    "transfer": "transfer_accuracy",
    "naive": "naive_accuracy",
    **{
        name: name
        for name in (
            "robust_accuracy",
            "clean_accuracy",
            "ci_low",
            "ci_high",
            "achieved_sparsity",
            "transfer_accuracy",
            "black_box_accuracy",
            "naive_accuracy",
        )
    },
}
_TEXTS = (
    "study",
    "dataset",
    "model",
    "compression",
    "attack",
    "norm",
    "status",
    "tags",
    "note",
    "flags",
)
_BESIDE = {"attack": ("attack_id", "steps"), "compression": ("recipe",)}
"""What the names of a column are made from, beside it."""
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_TOKEN = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
_COMPARISON = re.compile(r"(?P<name>[A-Za-z_]\w*)(?P<op><=|>=|!=|=|<|>|:)(?P<value>.*)", re.DOTALL)


class FilterError(ValueError):
    """The filter line cannot be understood; the message says where."""


@dataclass(frozen=True)
class FilterText:
    """A filter line that the Runs page is asked to show."""

    text: str


@dataclass(frozen=True)
class _Text:
    """A test of texts.

    Attributes:
        groups: columns that are looked at together; one of the groups must hold.
        holds: is given a row with the columns of a group, and the name of its first.
    """

    groups: Sequence[tuple[str, ...]]
    holds: Callable[[Row, str], bool]

    def mask(self, table: RunTable) -> npt.NDArray[np.bool_]:
        mask = np.zeros(len(table.ids), np.bool_)
        for group in self.groups:
            mask |= table.where(group, partial(self._of_group, group[0]))
        return mask

    def _of_group(self, name: str, row: Row) -> bool:
        return self.holds(row, name)


@dataclass(frozen=True)
class _Number:
    """A comparison of a column of numbers; one that is missing never holds."""

    column: str
    compare: Callable[[Any, Any], Any]
    wanted: float
    scale: float

    def mask(self, table: RunTable) -> npt.NDArray[np.bool_]:
        stored = table.numbers(self.column)
        # Rounded, so that 8/255 or 63.2 % equal what the table shows as such.
        holds = self.compare(np.round(stored * self.scale, 9), np.round(self.wanted, 9))
        return cast(npt.NDArray[np.bool_], holds & ~np.isnan(stored))


@dataclass(frozen=True)
class RunFilter:
    """All of its tests must hold for a run."""

    tests: tuple[_Text | _Number, ...] = ()

    def mask(self, table: RunTable) -> npt.NDArray[np.bool_]:
        """(n,) which runs pass, those included that are deleted."""
        passed = np.ones(len(table.ids), np.bool_)
        for test in self.tests if len(passed) else ():
            passed &= test.mask(table)
        return passed


def parse(text: str) -> RunFilter:
    """Read a filter line.

    Raises:
        FilterError: an unknown column, or a value that does not fit it.
    """
    return RunFilter(tuple(_test(token) for token in _TOKEN.findall(text)))


def _test(token: str) -> _Text | _Number:
    comparison = None if token.startswith('"') else _COMPARISON.fullmatch(token)
    if not comparison:
        return _contains_anywhere(token.replace('"', "").casefold())
    name, op, value = (
        comparison["name"].lower(),
        comparison["op"],
        comparison["value"].replace('"', ""),
    )
    if name in _TEXTS:
        return _text_test(name, op, value.casefold())
    if name in _NUMBERS:
        return _number_test(name, _NUMBERS[name], op, value, 1)
    if name in _SHARES:
        return _number_test(name, _SHARES[name], op, value, 100)
    known = ", ".join([*_TEXTS, *[key for key in (*_SHARES, *_NUMBERS) if "_" not in key]])
    raise FilterError(f"There is no column '{name}'. Known: {known}.")


def _contains_anywhere(word: str) -> _Text:
    groups = [(name,) for name in _TEXTS]
    return _Text(groups, lambda row, name: any(word in text for text in _texts(row, name)))


def _text_test(name: str, op: str, value: str) -> _Text:
    if op == ":":
        return _Text([(name,)], lambda row, _: any(value in text for text in _texts(row, name)))
    columns = (name, *_BESIDE.get(name, ()))
    if op == "=":
        return _Text([columns], lambda row, _: value in _names(row, name))
    if op == "!=":
        return _Text([columns], lambda row, _: value not in _names(row, name))
    raise FilterError(f"'{name}' holds text: compare it with =, != or ':' (contains).")


def _number_test(label: str, column: str, op: str, value: str, scale: float) -> _Number:
    if op == ":":
        raise FilterError(f"'{label}' holds numbers: compare it with =, !=, <, <=, > or >=.")
    try:
        wanted = as_number(value.removesuffix("%"))
    except ValueError:
        raise FilterError(f"'{label}{op}{value}': {value!r} is not a number.") from None
    return _Number(column, _COMPARE[op], wanted, scale)


def _texts(row: Row, name: str) -> list[str]:
    value = row[name]
    if name == "flags":
        return [flag["id"].casefold() for flag in value]
    if name == "model":
        return list(dict.fromkeys((str(value).casefold(), model_title(str(value)).casefold())))
    return [str(value or "").casefold()]


def _names(row: Row, name: str) -> set[str]:
    """What a text column may be called in a comparison: its value, or a part that names it."""
    texts = set(_texts(row, name))
    if name == "model":
        return texts
    whole = "".join(texts)
    if name == "tags":
        return {tag.strip() for tag in whole.split(",")} | {whole}
    if name == "attack":
        # "pgd-40 8/255" is also pgd-40, and pgd.
        id_ = str(row["attack_id"]).casefold()
        return {whole, id_, f"{id_}-{row['steps']}"}
    if name == "compression":
        recipe: Sequence[Mapping[str, str]] = row["recipe"] or ()
        return {whole, *(step[key].casefold() for step in recipe for key in ("name", "label"))}
    return texts or {""}
