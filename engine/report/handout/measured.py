"""The review's tables of categories and of defences for reading: heads, and cells of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engine.catalog import format_number
from engine.report.category_changes import Change
from engine.report.defended import BATCHES, Defended, inference
from engine.report.naming import variant
from engine.report.tables import tabulated
from engine.statistics.intervals import PairedDifference
from engine.statistics.words import in_percent
from engine.store import ResultRow


@dataclass(frozen=True)
class Reading:
    """A table for reading.

    Attributes:
        heads: the names of the columns, and whether they hold numbers.
        lines: rows of cells, each with the id of the run that it rests on.
    """

    heads: Sequence[tuple[str, bool]]
    lines: Sequence[tuple[int, Sequence[str]]]

    def text(self, format_: str) -> str:
        """The table as ``markdown`` or ``latex``."""
        names = [name for name, _ in self.heads]
        numeric = {name for name, number in self.heads if number}
        return tabulated(names, [list(cells) for _, cells in self.lines], numeric, format_)


_CATEGORY: Mapping[str, tuple[bool, Callable[[Change], str]]] = {
    "category": (False, lambda one: one.category.words),
    "variant": (False, lambda one: variant(one.row)),
    "threat": (False, lambda one: _threat(one.row)),
    "rate": (True, lambda one: _number(one.row["compression_rate"], ".2f")),
    "clean, points [95 %]": (True, lambda one: _points(one.clean)),
    "robust, points [95 %]": (True, lambda one: _points(one.robust)),
    "kept %": (True, lambda one: one.kept.percent),
    "bytes saved %": (True, lambda one: one.bytes_saved.percent),
    "kept per byte saved": (True, lambda one: one.kept_per_byte.plain),
    "MACs saved %": (True, lambda one: one.macs_saved.percent),
    "kept per MAC saved": (True, lambda one: one.kept_per_mac.plain),
}

_DEFENCE: Mapping[str, tuple[bool, Callable[[Defended], str]]] = {
    "defence": (False, lambda one: " + ".join(one.kinds)),
    "variant": (False, lambda one: variant(one.row)),
    "threat": (False, lambda one: _threat(one.row)),
    "to quote % [95 %]": (True, lambda one: _to_quote(one)),
    "naive %": (True, lambda one: _naive(one)),
    "adaptive % [95 %]": (True, lambda one: _adaptive(one.row)),
    "false robustness [95 %]": (True, lambda one: _false(one)),
    "gain, points [95 %]": (True, lambda one: _points(one.change.robust)),
    "training": (True, lambda one: one.training.times),
    "inference of 1": (True, lambda one: inference(one, BATCHES[0]).times),
    "of 64": (True, lambda one: inference(one, BATCHES[1]).times),
    "extra parameters": (True, lambda one: _number(one.extra_parameters, ",d")),
    "MACs": (True, lambda one: one.macs.times),
    "what to quote, and why": (False, lambda one: one.quote),
}


def category_table(found: Sequence[Change]) -> Reading:
    """Every variant under its category, at the rate it reached."""
    return Reading(
        [(name, number) for name, (number, _) in _CATEGORY.items()],
        [(one.row["run_id"], [cell(one) for _, cell in _CATEGORY.values()]) for one in found],
    )


def defence_table(found: Sequence[Defended]) -> Reading:
    """Every defended variant with what it keeps, what to quote of that, and what it costs."""
    return Reading(
        [(name, number) for name, (number, _) in _DEFENCE.items()],
        [(one.row["run_id"], [cell(one) for _, cell in _DEFENCE.values()]) for one in found],
    )


def _threat(row: ResultRow) -> str:
    return " ".join(filter(None, (row["norm"], format_number(row["eps"] or 0.0))))


def _number(value: float | None, digits: str) -> str:
    return "not stored" if value is None else format(value, digits)


def _points(found: PairedDifference) -> str:
    return f"{100 * found.difference:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def _interval(share: float, low: float, high: float) -> str:
    return f"{in_percent(share)} [{in_percent(low)}, {in_percent(high)}]"


def _adaptive(row: ResultRow) -> str:
    share, low, high = row["robust_accuracy"], row["ci_low"], row["ci_high"]
    if share is None or low is None or high is None:
        return in_percent(share)
    return _interval(share, low, high)


def _naive(one: Defended) -> str:
    if one.naive is None:
        return "none made"
    some = "" if one.naive.false.n == one.row["n"] else f" of {one.naive.false.n}"
    return in_percent(one.naive.share) + some


def _false(one: Defended) -> str:
    return "none made" if one.naive is None else _points(one.naive.false)


def _to_quote(one: Defended) -> str:
    low, high = one.interval
    return _interval(one.change.survivors / one.change.robust.n, low, high)
