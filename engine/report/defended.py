"""The review's table of defences with measured values in place of its adjectives.

Of each defended variant in each threat model: what it keeps from an attack that adapts to it and
from one that does not, which figure to quote, and what it costs beside the undefended model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.catalog.models.architectures import SAME
from engine.report import identity
from engine.report.categories import category, defending_steps
from engine.report.category_changes import NOT_STORED, Change
from engine.report.naming import known
from engine.report.ratios import Ratio, ratio
from engine.specs.choices import Step
from engine.statistics.intervals import PairedDifference, mcnemar_exact, paired_interval, wilson
from engine.store import Columns, Payload, ResultRow, Store

NO_TRAINING = "no training"
NO_STANDARD = "no standard training of this network in the study"
_HIDES_NOTHING = "adversarial training"
_SIGNIFICANCE = 0.05

BATCHES = (1, 64)
"""Images in a pass that inference is timed with."""


@dataclass(frozen=True)
class Naive:
    """The attack of a run that does not adapt to the defence, on the same images.

    Attributes:
        held: images that survive it, of ``false.n``.
        false: false robustness: its share minus that of the adaptive attack.
    """

    held: int
    false: PairedDifference

    @property
    def share(self) -> float:
        """Robust accuracy as somebody would report it who does not adapt."""
        return self.held / self.false.n


@dataclass(frozen=True)
class Defended:
    """A defended variant in one threat model.

    Attributes:
        kinds: of defences, as the review has them.
        change: beside its undefended base model, in the worst case.
        row: the adaptive run that is shown: the strongest one with a naive attack beside it.
        naive: that attack; None where none was made.
        quote: which figure to quote, and why.
        training: its seconds beside a standard training of as many epochs.
        inference: seconds of a forward pass beside the base model, by images in a pass.
    """

    kinds: tuple[str, ...]
    change: Change
    row: ResultRow
    naive: Naive | None
    quote: str
    training: Ratio
    inference: Mapping[int, Ratio]

    @property
    def interval(self) -> tuple[float, float]:
        """Of the worst case, the figure to quote (Wilson, 95 %)."""
        low, high = wilson(self.change.survivors, self.change.robust.n)
        return float(low), float(high)

    @property
    def extra_parameters(self) -> int | None:
        """Parameters beyond those of the base model; below 0 if the variant has fewer."""
        own, base = self.change.row["parameters"], self.change.base["parameters"]
        return None if own is None or base is None else own - base

    @property
    def macs(self) -> Ratio:
        """Multiplications for an image beside the base model."""
        one = self.change
        return ratio(one.macs, one.base_macs, unknown=NOT_STORED, empty="the base has none")


def defended(found: Sequence[Change], rows: Sequence[ResultRow], store: Store) -> list[Defended]:
    """The defended variants among those that stand beside their base models.

    Args:
        found: of the same rows.
        rows: all finished runs of a study, with their specs.
        store: where costs, checks and times are.
    """
    paces = _Paces(rows, store)
    groups = identity.grouped(rows, identity.threat_key)
    return [
        _defended(one, groups[identity.threat_key(one.row)], paces, store)
        for one in sorted(found, key=lambda one: one.category.defences)
        if one.category.defences
    ]


def _defended(change: Change, group: Sequence[ResultRow], paces: _Paces, store: Store) -> Defended:
    adaptive = [row for row in group if row["naive_accuracy"] is not None] or [change.row]
    row = min(adaptive, key=lambda one: known(one["robust_accuracy"]))
    variant = store.variant(row["run_id"])
    naive = _naive(row, store)
    return Defended(
        kinds=change.category.defences,
        change=change,
        row=row,
        naive=naive,
        quote=_quote(change, row, naive),
        training=paces.training(row, variant),
        inference={
            one["batch"]: ratio(
                one["milliseconds"], one["base_milliseconds"], unknown=NOT_STORED, empty=NOT_STORED
            )
            for one in variant.get("latency") or ()
        },
    )


def _naive(row: ResultRow, store: Store) -> Naive | None:
    if row["naive_accuracy"] is None:
        return None
    checks = store.run(row["run_id"])["checks"]
    for check in checks.get("survivors", ()):
        if check.get("naive") and check.get("images"):
            new, false, n = len(check["broken"]), len(check["missed"]), int(check["images"])
            low, high = paired_interval(new, false, n)
            p = mcnemar_exact(new, false)
            found = PairedDifference((false - new) / n, low, high, p, new, false, n)
            return Naive(held=int(check["tried"]) - new + false, false=found)
    return None


def _quote(change: Change, row: ResultRow, naive: Naive | None) -> str:
    """Which figure to quote, and why: always the lowest, for different reasons."""
    if naive is None:
        if set(change.category.defences) == {_HIDES_NOTHING}:
            return "worst case: nothing is hidden, so the attack has nothing to adapt to"
        return "worst case; no naive attack was made beside it"
    false = naive.false
    if false.p_value < _SIGNIFICANCE and false.difference < 0:
        return "worst case: the naive attack is the stronger one, so the adaptive one is too weak"
    if false.p_value < _SIGNIFICANCE:
        return "worst case: the naive figure is for those who do not know of the defence"
    return "worst case: both attacks agree, as far as so many images tell"


class _Paces:
    """How long standard trainings took, to hold the training of defences against.

    Args:
        rows: all finished runs of the study.
        store: where the records of steps are.
    """

    def __init__(self, rows: Sequence[ResultRow], store: Store) -> None:
        self._store = store
        self._known: dict[tuple[Any, ...], float] = {}
        for row in rows:
            told = category(row)
            recipe = _recipe(row)
            if len(recipe) == 1 and told.families == ("training",) and not told.robust:
                records = store.variant(row["run_id"]).get("steps") or ()
                for record in records:
                    if record.get("epochs"):
                        seconds = _seconds(record) / len(record["epochs"])
                        self._known.setdefault(self._place(row, recipe[0], record), seconds)

    def _place(self, row: ResultRow, step: Step, record: Payload) -> tuple[Any, ...]:
        """The same network and data on the same machine in the same precision."""
        machine = self._store.run(row["run_id"])["environment"]
        return (
            *(identity.context_key(row), row["model"], step.params.get("student", SAME)),
            *(record.get("device"), record.get("precision")),
            *(machine.get("platform"), machine.get("device_description")),
        )

    def training(self, row: ResultRow, variant: Payload) -> Ratio:
        """Seconds of the defending steps beside standard trainings of as many epochs."""
        defending = defending_steps(row)
        seconds = standard = 0.0
        for step, record in zip(_recipe(row), variant.get("steps") or (), strict=False):
            if step not in defending or not record.get("epochs"):
                continue
            pace = self._known.get(self._place(row, step, record))
            if pace is None:
                return Ratio(None, NO_STANDARD)
            seconds += _seconds(record)
            standard += pace * step.params.get("epochs", len(record["epochs"]))
        return ratio(seconds, standard, unknown=NOT_STORED, empty=NO_TRAINING)


def _recipe(row: ResultRow) -> list[Step]:
    return [Step.model_validate(step) for step in (row.get("spec") or {}).get("recipe", ())]


def _seconds(record: Payload) -> float:
    return float(sum(epoch["seconds"] for epoch in record["epochs"]))


COLUMNS = (
    *("defence", "model", "compression", "seed", "norm", "eps", "n"),
    *("run_id", "base_run_id", "attack"),
    *("adaptive", "adaptive_low", "adaptive_high", "naive", "naive_n"),
    *("false_robustness", "false_low", "false_high", "p_mcnemar"),
    *("quote", "quote_low", "quote_high", "quote_words"),
    *("undefended", "gain", "gain_low", "gain_high"),
    *("training_ratio", "inference_ratio_1", "inference_ratio_64"),
    *("extra_parameters", "macs_ratio", "remarks"),
)
"""Shares in [0,1], differences in [-1,1], ratios to the undefended model; ``remarks`` says why a
ratio is empty."""


_OF_RUN = ("model", "compression", "seed", "norm", "eps", "run_id")


def defended_rows(found: Sequence[Defended]) -> Iterator[dict[str, object]]:
    """The rows of ``COLUMNS``."""
    for one in found:
        change = one.change
        row: Columns = one.row
        low, high = one.interval
        ratios = {
            "training_ratio": one.training,
            **{f"inference_ratio_{n}": inference(one, n) for n in BATCHES},
            "macs_ratio": one.macs,
        }
        yield {
            **{name: row[name] for name in _OF_RUN},
            "defence": " + ".join(one.kinds),
            "n": change.robust.n,
            "base_run_id": change.base["run_id"],
            "attack": row["attack"],
            "adaptive": row["robust_accuracy"],
            "adaptive_low": row["ci_low"],
            "adaptive_high": row["ci_high"],
            **_naive_columns(one.naive),
            "quote": change.survivors / change.robust.n,
            "quote_low": low,
            "quote_high": high,
            "quote_words": one.quote,
            "undefended": change.base_survivors / change.robust.n,
            "gain": change.robust.difference,
            "gain_low": change.robust.low,
            "gain_high": change.robust.high,
            **{name: ratio_.value for name, ratio_ in ratios.items()},
            "extra_parameters": one.extra_parameters,
            "remarks": "; ".join(f"{name}: {r.why}" for name, r in ratios.items() if r.why),
        }


def inference(one: Defended, batch: int) -> Ratio:
    """Of a number of images in a pass; memory may not have held it."""
    return one.inference.get(batch, Ratio(None, NOT_STORED))


def _naive_columns(naive: Naive | None) -> dict[str, object]:
    names = ("naive", "naive_n", "false_robustness", "false_low", "false_high", "p_mcnemar")
    if naive is None:
        return dict.fromkeys(names)
    false = naive.false
    values = (naive.share, false.n, false.difference, false.low, false.high, false.p_value)
    return dict(zip(names, values, strict=True))
