"""What each category of compression does to clean and robust accuracy, at the rate it reached.

Every variant stands beside its own base model in each threat model: what is left of both there is
the worst case, on the same images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.report import identity
from engine.report.categories import Category, category
from engine.report.naming import BASE, known
from engine.report.ratios import Ratio, ratio
from engine.statistics.intervals import PairedDifference, paired_difference
from engine.store import ResultRow, Store

NOT_STORED = "not stored"


@dataclass(frozen=True)
class Change:
    """A variant beside its own base model in one threat model.

    Attributes:
        row: its strongest run there; ``base`` that of the base model.
        category: of the variant.
        clean: how clean accuracy differs; positive where the variant is better.
        robust: the same for what survives everything that is stored.
        survivors: images of the variant that do; ``base_survivors`` those of the base model.
        macs: of one image through the variant; None where they are not stored.
        base_macs: through the base model.
    """

    row: ResultRow
    base: ResultRow
    category: Category
    clean: PairedDifference
    robust: PairedDifference
    survivors: int
    base_survivors: int
    macs: int | None
    base_macs: int | None

    @property
    def kept(self) -> Ratio:
        """The worst case as a share of the base model's."""
        return ratio(
            self.survivors, self.base_survivors, unknown=NOT_STORED, empty="the base keeps nothing"
        )

    @property
    def bytes_saved(self) -> Ratio:
        """The share of the base model's packed bytes that is gone; negative if there are more."""
        return _saved(self.row["size_bytes"], self.base["size_bytes"])

    @property
    def macs_saved(self) -> Ratio:
        """The same for the multiplications that dense kernels make."""
        return _saved(self.macs, self.base_macs)

    @property
    def kept_per_byte(self) -> Ratio:
        """``kept`` over ``bytes_saved``."""
        return _per(self.kept, self.bytes_saved, "no bytes saved")

    @property
    def kept_per_mac(self) -> Ratio:
        """``kept`` over ``macs_saved``."""
        return _per(self.kept, self.macs_saved, "no MACs saved")


def _saved(own: int | None, base: int | None) -> Ratio:
    left = ratio(own, base, unknown=NOT_STORED, empty="the base has none")
    return left if left.value is None else Ratio(1 - left.value)


def _per(kept: Ratio, saved: Ratio, nothing: str) -> Ratio:
    if kept.value is None:
        return kept
    if saved.value is None:
        return saved
    return Ratio(kept.value / saved.value) if saved.value > 0 else Ratio(None, nothing)


@dataclass(frozen=True)
class _Verdicts:
    """What the strongest run of a variant in a threat model says of its images."""

    row: ResultRow
    images: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    gone: NDArray[np.bool_]


def changes(rows: Sequence[ResultRow], store: Store) -> list[Change]:
    """All variants that have a base model to stand beside, by category, then by rate.

    Args:
        rows: finished, with their specs; second attacks and those without a ball are left out.
        store: where the verdicts on their images are.
    """
    first = identity.first_attacks(rows)
    inside = [row for row in first if row["eps"] is not None and row["robust_accuracy"] is not None]
    groups = identity.grouped(inside, identity.threat_key)
    strongest = [
        min(group, key=lambda row: known(row["robust_accuracy"])) for group in groups.values()
    ]
    bases = {_place(row): row for row in strongest if identity.family(row) == BASE}
    read: dict[int, _Verdicts | None] = {}
    found = []
    for row in strongest:
        base = bases.get(_place(row))
        if base is None or base is row:
            continue
        for one in (row, base):
            if one["run_id"] not in read:
                read[one["run_id"]] = _verdicts(one, store)
        change = _change(read[row["run_id"]], read[base["run_id"]], store)
        found += [change] if change else []
    return sorted(found, key=_order)


def _place(row: ResultRow) -> tuple[str, str, str, float | None]:
    return identity.context_key(row), row["model"], row["norm"], row["eps"]


def _order(one: Change) -> tuple[Any, ...]:
    row = one.row
    return (*one.category.order, row["model"], row["compression_rate"] or 0.0, row["run_id"])


def _verdicts(row: ResultRow, store: Store) -> _Verdicts | None:
    samples, broke = store.samples(row["run_id"]), store.who_broke(row["run_id"])
    if broke is None or len(broke.left) != len(samples):
        return None
    return _Verdicts(
        row=row,
        images=np.array([one["index"] for one in samples], np.int64),
        wrong=np.array([one["clean_prediction"] != one["label"] for one in samples], bool),
        gone=~broke.left,
    )


def _change(own: _Verdicts | None, base: _Verdicts | None, store: Store) -> Change | None:
    """None where the two did not see the same images."""
    if own is None or base is None or not np.array_equal(own.images, base.images):
        return None
    return Change(
        row=own.row,
        base=base.row,
        category=category(own.row),
        clean=paired_difference(own.wrong, base.wrong),
        robust=paired_difference(own.gone, base.gone),
        survivors=int(np.sum(~own.gone)),
        base_survivors=int(np.sum(~base.gone)),
        macs=_macs(own.row, store),
        base_macs=_macs(base.row, store),
    )


def _macs(row: ResultRow, store: Store) -> int | None:
    accounting: Mapping[str, Any] = store.variant(row["run_id"]).get("accounting") or {}
    macs: int | None = accounting.get("macs")
    return macs


COLUMNS = (
    *("category", "structure", "robust_training", "run_id", "base_run_id", "model", "compression"),
    "seed",
    *("norm", "eps", "n", "compression_rate"),
    *("clean_change", "clean_low", "clean_high"),
    *("worst_case", "base_worst_case", "robust_change", "robust_low", "robust_high", "p_mcnemar"),
    *("kept", "bytes_saved", "kept_per_byte", "macs_saved", "kept_per_mac"),
    *("avg_perturbation_l2", "avg_perturbation_linf", "parameters", "nonzero_parameters"),
    "remarks",
)
"""Shares in [0,1], changes in [-1,1]; ``remarks`` says why a ratio is empty."""

_RATIOS = ("kept", "bytes_saved", "kept_per_byte", "macs_saved", "kept_per_mac")
_OF_RUN = (
    *("run_id", "model", "compression", "seed", "norm", "eps", "compression_rate"),
    *("avg_perturbation_l2", "avg_perturbation_linf", "parameters", "nonzero_parameters"),
)


def change_rows(found: Sequence[Change]) -> Iterator[dict[str, object]]:
    """The rows of ``COLUMNS``."""
    for one in found:
        row: Mapping[str, Any] = one.row
        ratios: dict[str, Ratio] = {name: getattr(one, name) for name in _RATIOS}
        remarks = [f"{name}: {ratio_.why}" for name, ratio_ in ratios.items() if ratio_.why]
        yield {
            **{name: row[name] for name in _OF_RUN},
            **{name: ratio_.value for name, ratio_ in ratios.items()},
            "category": one.category.name,
            "structure": one.category.structure,
            "robust_training": one.category.robust,
            "base_run_id": one.base["run_id"],
            "n": one.robust.n,
            "clean_change": one.clean.difference,
            "clean_low": one.clean.low,
            "clean_high": one.clean.high,
            "worst_case": one.survivors / one.robust.n,
            "base_worst_case": one.base_survivors / one.robust.n,
            "robust_change": one.robust.difference,
            "robust_low": one.robust.low,
            "robust_high": one.robust.high,
            "p_mcnemar": one.robust.p_value,
            "remarks": "; ".join(remarks),
        }
