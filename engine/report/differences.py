"""Variants beside each other, image by image, and what of the differences is more than chance.

Two runs are comparable if the same attack saw the same images. What a variant stands beside is
its uncompressed model, or a variant of one's choice (``beside``), or every other (``every_pair``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from engine.errors import SpecError
from engine.report import identity
from engine.report.cells import csv_text, one_line
from engine.report.naming import BASE, made
from engine.report.tables import json_pieces, tabulated
from engine.statistics.intervals import PairedDifference, holm, paired_difference
from engine.store import ResultRow, SampleRow

Samples = Callable[[int], Sequence[SampleRow]]
"""The verdicts of a run by its id (``Store.samples``)."""
Pair = tuple[ResultRow, ResultRow]
"""A run and the one it stands beside."""
Chosen = Callable[[ResultRow], bool]
"""Whether a run is one of the variant that others stand beside."""

MOST_PAIRS = 50_000
"""More are no table for anybody, and would take minutes."""


@dataclass(frozen=True)
class Difference:
    """A run beside that of another variant under the same attack on the same images.

    Attributes:
        row: the run; ``base`` the one it stands beside.
        found: how they differ; positive where ``row`` is the more robust.
        adjusted: p-value after Holm, over all differences that are given together.
    """

    row: ResultRow
    base: ResultRow
    found: PairedDifference
    adjusted: float

    @property
    def told_apart(self) -> bool:
        """Whether it is more than chance at the level of 5 % for all of them together."""
        return self.adjusted < 0.05


def references(
    known: Iterable[ResultRow], rows: Iterable[ResultRow], chosen: Chosen | None = None
) -> dict[int, ResultRow]:
    """By run id what each run stands beside; those that are of the baseline have nothing.

    Args:
        known: among which the runs of the baseline are, with their specs.
        rows: to be compared; of any study, for studies share runs. Second attacks have nothing.
        chosen: whether a run is of the baseline; None for the uncompressed model of each.
    """
    is_baseline = chosen or (lambda row: row["compression"] == BASE)

    def place(row: ResultRow) -> tuple[str, ...]:
        return (*_conditions(row), "" if chosen else row["model"])

    base_of = {place(row): row for row in identity.first_attacks(known) if is_baseline(row)}
    found: dict[int, ResultRow] = {}
    for row in identity.first_attacks(rows) if base_of else ():
        base = None if is_baseline(row) else base_of.get(place(row))
        if base is not None:
            found[row["run_id"]] = base
    return found


def _conditions(row: ResultRow) -> tuple[str, str]:
    images = identity.context_key(cast(ResultRow, {**row, "study": None}))
    return images, identity.attack_key(row)


def beside(
    rows: Sequence[ResultRow],
    chosen: Chosen | None = None,
    known: Sequence[ResultRow] | None = None,
) -> list[Pair]:
    """Each run with the one it stands beside, as ``references``; ``known`` is ``rows`` if None."""
    found = references(rows if known is None else known, rows, chosen)
    return [(row, found[row["run_id"]]) for row in rows if row["run_id"] in found]


def every_pair(rows: Sequence[ResultRow]) -> list[Pair]:
    """Every two variants under the same attack on the same images, the later beside the earlier.

    Second attacks stand beside nothing.

    Raises:
        SpecError: these are more than ``MOST_PAIRS``.
    """
    fit = identity.first_attacks(rows)
    groups = identity.grouped(fit, lambda row: "\n".join(_conditions(row))).values()
    many = sum(len(group) * (len(group) - 1) // 2 for group in groups)
    if many > MOST_PAIRS:
        raise SpecError(
            f"These are {many:,} pairs of runs, but at most {MOST_PAIRS:,} are tested.",
            "Name the runs, or choose one study.",
        )
    return [
        (later, earlier)
        for group in groups
        for earlier, later in itertools.combinations(group, 2)
        if identity.variant_key(earlier) != identity.variant_key(later)
    ]


def differences(pairs: Iterable[Pair], samples: Samples) -> list[Difference]:
    """The pairs that saw the same images, tested as one family.

    Args:
        pairs: of finished runs; those of attacks without eps have no share to compare.
        samples: reads verdicts; each run is read once.
    """
    known: dict[int, tuple[NDArray[np.int64], NDArray[np.bool_]]] = {}
    found: list[tuple[ResultRow, ResultRow, PairedDifference]] = []
    for pair in pairs:
        if any(one["robust_accuracy"] is None for one in pair):
            continue
        for one in pair:
            if one["run_id"] not in known:
                known[one["run_id"]] = _verdicts(samples(one["run_id"]))
        (images, broken), (others, beside_) = (known[one["run_id"]] for one in pair)
        if len(images) and np.array_equal(images, others):
            found.append((*pair, paired_difference(broken, beside_)))
    adjusted = holm([one.p_value for _, _, one in found])
    return [Difference(*one, p) for one, p in zip(found, adjusted, strict=True)]


def _verdicts(rows: Sequence[SampleRow]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    return (
        np.array([row["index"] for row in rows], np.int64),
        np.array([row["broken"] for row in rows], bool),
    )


COLUMNS = (
    "run_id", "model", "compression", "attack", "seed",
    "base_run_id", "base_model", "base_compression",
    "parameters", "base_parameters", "n", "difference", "low", "high",
    "only_variant_broken", "only_base_broken", "p_mcnemar", "p_holm",
)  # fmt: skip


def difference_rows(found: Iterable[Difference]) -> Iterator[Mapping[str, object]]:
    """For files: shares in [-1,1], ``COLUMNS``; both runs of a pair have one seed."""
    for one in found:
        row, base, tested = one.row, one.base, one.found
        names = row["run_id"], row["model"], row["compression"], row["attack"], row["seed"]
        other = base["run_id"], base["model"], base["compression"]
        counted = row["parameters"], base["parameters"]
        shares = tested.n, tested.difference, tested.low, tested.high
        counts = tested.only_a, tested.only_b, tested.p_value, one.adjusted
        yield dict(zip(COLUMNS, (*names, *other, *counted, *shares, *counts), strict=True))


_HEAD = (
    *("run", "variant", "attack", "seed", "beside", "which is", "difference [95 %]"),
    *("only here", "only there", "p", "p (Holm)"),
)
_WORDS = ("variant", "attack", "which is")
_SEED = _HEAD.index("seed")


def differences_text(found: Sequence[Difference], format_: str) -> str:
    """Differences in one of ``tables.RESULT_FORMATS``, ending in a newline.

    ``csv`` and ``json`` hold ``COLUMNS`` raw; the others are for reading, in points, with the seed
    where not all share one.

    Raises:
        SpecError: no such format.
    """
    if format_ == "csv":
        return csv_text(COLUMNS, difference_rows(found))
    if format_ == "json":
        return "".join(json_pieces(difference_rows(found)))
    head, lines = list(_HEAD), [_cells(one) for one in found]
    if len({line[_SEED] for line in lines}) < 2:
        for line in (head, *lines):
            del line[_SEED]
    return tabulated(head, lines, set(_HEAD) - set(_WORDS), format_)


def _cells(one: Difference) -> list[str]:
    row, base, tested = one.row, one.base, one.found
    return [
        *(str(row["run_id"]), one_line(made(row)), one_line(row["attack"]), str(row["seed"])),
        *(str(base["run_id"]), one_line(made(base)), in_points(tested)),
        *(str(tested.only_a), str(tested.only_b), p_text(tested.p_value), p_text(one.adjusted)),
    ]


def in_points(difference: PairedDifference) -> str:
    """``-3.1 [-5.9, -0.3]``."""
    middle, low, high = (
        100 * value for value in (difference.difference, difference.low, difference.high)
    )
    return f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]"


def p_text(p_value: float) -> str:
    """``0.012``, or ``< 0.001``."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
