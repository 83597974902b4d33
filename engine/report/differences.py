"""Every variant beside its base model, image by image, and what of it is more than chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.report import identity
from engine.report.naming import BASE
from engine.statistics.intervals import PairedDifference, holm, paired_difference
from engine.store import ResultRow, SampleRow

Samples = Callable[[int], Sequence[SampleRow]]
"""The verdicts of a run by its id (``Store.samples``)."""


@dataclass(frozen=True)
class Difference:
    """A run beside that of its base model under the same attack on the same images.

    Attributes:
        row: the run of the variant; ``base`` that of the base model.
        found: how they differ; positive where the variant is the more robust.
        adjusted: p-value after Holm, over all differences of the report.
    """

    row: ResultRow
    base: ResultRow
    found: PairedDifference
    adjusted: float

    @property
    def told_apart(self) -> bool:
        """Whether it is more than chance at the level of 5 % for all of them together."""
        return self.adjusted < 0.05


def differences(rows: Sequence[ResultRow], samples: Samples) -> list[Difference]:
    """All runs of variants that have one of their base model to stand beside.

    Args:
        rows: finished, with their specs.
        samples: reads verdicts; each run is read once.
    """
    bases = {_place(row): row for row in rows if identity.family(row) == BASE}
    known: dict[int, tuple[NDArray[np.int64], NDArray[np.bool_]]] = {}
    pairs: list[tuple[ResultRow, ResultRow, PairedDifference]] = []
    for row in rows:
        base = bases.get(_place(row))
        if base is None or base is row or row["robust_accuracy"] is None:
            continue
        for one in (row, base):
            if one["run_id"] not in known:
                known[one["run_id"]] = _verdicts(samples(one["run_id"]))
        (images, broken), (others, whole) = known[row["run_id"]], known[base["run_id"]]
        if len(images) and np.array_equal(images, others):
            pairs.append((row, base, paired_difference(broken, whole)))
    adjusted = holm([found.p_value for _, _, found in pairs])
    return [Difference(*pair, p) for pair, p in zip(pairs, adjusted, strict=True)]


def _place(row: ResultRow) -> tuple[str, str, str]:
    return identity.context_key(row), row["model"], identity.attack_key(row)


def _verdicts(rows: Sequence[SampleRow]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    return (
        np.array([row["index"] for row in rows], np.int64),
        np.array([row["broken"] for row in rows], bool),
    )


COLUMNS = (
    "run_id", "model", "compression", "attack", "base_run_id", "n",
    "difference", "low", "high", "only_variant_broken", "only_base_broken", "p_mcnemar", "p_holm",
)  # fmt: skip


def difference_rows(found: Sequence[Difference]) -> list[Mapping[str, object]]:
    """For files: shares in [-1,1], ``COLUMNS``."""
    return [
        dict(
            zip(
                COLUMNS,
                (
                    one.row["run_id"], one.row["model"], one.row["compression"], one.row["attack"],
                    one.base["run_id"], one.found.n, one.found.difference, one.found.low,
                    one.found.high, one.found.only_a, one.found.only_b, one.found.p_value,
                    one.adjusted,
                ),
                strict=True,
            )
        )
        for one in found
    ]  # fmt: skip
