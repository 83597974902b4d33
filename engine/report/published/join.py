"""Published against measured: the runs of a study beside the rows that say something of them.

A run belongs to a row if it is of the same system (the compression alone, fine-tuning aside),
network, share pruned or rate, dataset where one is stated, and attack: the same one if the study
has it, else one of the same family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine import catalog
from engine.catalog import format_number
from engine.catalog.models.architectures import SAME
from engine.catalog.models.cards import ModelCard
from engine.report.identity import first_attacks
from engine.report.published.rows import PublishedRow
from engine.report.published.size_flags import size_flags
from engine.specs.choices import Step
from engine.store import ResultRow

FINE_TUNING = "finetune"

_CLOSE = 0.005
"""How far shares pruned may be apart to be the same."""

_SAME_EPS = 0.002
"""The same for eps: 0.031 and 8/255 are the same to those who publish."""


@dataclass(frozen=True)
class Pair:
    """A published row and a run of the same thing.

    Attributes:
        row: the published one.
        run: the measured one.
        overlap: whether the two intervals do; None where the published one has none or eps differs.
        differences: what is not the same, and why counts differ; one sentence each.
    """

    row: PublishedRow
    run: ResultRow
    overlap: bool | None
    differences: tuple[str, ...]


def joined(
    rows: Sequence[PublishedRow], runs: Iterable[ResultRow], cards: Mapping[str, ModelCard]
) -> list[Pair]:
    """Every published row with each run that it says something of, in the order of the rows.

    Args:
        rows: published ones.
        runs: with ``spec`` (``Store.with_specs``); second attacks, and those without a robust
            accuracy, are left out.
        cards: of the models, by id; a model without one belongs to no row.
    """
    known = [
        (run, _Variant.of(run, cards[run["model"]]))
        for run in first_attacks(runs)
        if run["robust_accuracy"] is not None and run["model"] in cards
    ]
    pairs = []
    for row in rows:
        alike = [run for run, variant in known if variant.is_of(row)]
        same = [run for run in alike if run["attack_id"] == row.result.attack]
        family = [run for run in alike if _family(run["attack_id"]) == _family(row.result.attack)]
        pairs += [_pair(row, run) for run in same or family]
    return pairs


@dataclass(frozen=True)
class _Variant:
    """What a run was measured on, in the terms of published rows."""

    dataset: str
    architecture: str
    method: str | None
    """The one compression; empty for none, None for several."""
    training: str
    pruned: float | None
    structured: bool
    tuned: bool

    @classmethod
    def of(cls, run: ResultRow, card: ModelCard) -> _Variant:
        recipe = [Step.model_validate(step) for step in run["spec"]["recipe"]]
        steps = [step for step in recipe if step.name != FINE_TUNING]
        students = [step.params.get("student", SAME) for step in steps]
        return cls(
            dataset=run["dataset"],
            architecture=next((one for one in students if one != SAME), card.architecture),
            method=None if len(steps) > 1 else "".join(step.name for step in steps),
            training=str(card.recipe.get("training", "")),
            pruned=_pruned(steps[0]) if steps else None,
            structured=any(_structured(step.params) for step in steps),
            tuned=len(steps) < len(recipe) or any(map(_tunes, steps)),
        )

    def is_of(self, row: PublishedRow) -> bool:
        """Whether a published row is about such a variant."""
        model = row.model
        if model.method != self.method or model.architecture != self.architecture:
            return False
        if row.dataset not in ("", self.dataset):
            return False
        if not model.method:
            return bool(model.training) and model.training == self.training
        if model.stage in ("pruned", "fine-tuned") and self.tuned != (model.stage == "fine-tuned"):
            return False
        wanted = model.pruned if model.rate is None else 1 - 1 / model.rate
        if wanted is None:
            return True
        if model.structured != self.structured or self.pruned is None:
            return False
        return abs(wanted - self.pruned) <= _CLOSE


def _pruned(step: Step) -> float | None:
    """The share of the weights that a step is asked to prune; None if it prunes none."""
    if "rate" in step.params:
        return 1 - 1 / float(step.params["rate"])
    left = step.settings.left_in_each_layer()
    return step.settings.requested().get("sparsity") if left is None else 1 - left


def _structured(params: Mapping[str, Any]) -> bool:
    return str(params.get("pattern", "irregular")) != "irregular"


def _tunes(step: Step) -> bool:
    return any(step.params.get(name) for name in ("retrain_epochs", "finetune_epochs"))


def _family(attack: str) -> tuple[str, bool]:
    """What attacks have in common that may stand for each other; one step never does for many."""
    entry = catalog.section("attacks").get(attack)
    return (attack, False) if entry is None else (entry.family, "single step" in entry.traits)


def _pair(row: PublishedRow, run: ResultRow) -> Pair:
    ends, low, high = row.interval, run["ci_low"], run["ci_high"]
    overlap = None
    if ends is not None and low is not None and high is not None and not _other_eps(row, run):
        overlap = ends[0] / 100 <= high and low <= ends[1] / 100
    return Pair(row, run, overlap, tuple(_differences(row, run)))


def _other_eps(row: PublishedRow, run: ResultRow) -> bool:
    if row.eps is None:
        return False
    return run["eps"] is None or abs(row.eps - run["eps"]) > _SAME_EPS


def _differences(row: PublishedRow, run: ResultRow) -> Iterator[str]:
    if row.result.attack != run["attack_id"]:
        yield f"Another attack of the same family: {row.result.attack} there, {run['attack']} here."
    if not row.dataset:
        yield f"The dataset is not stated there; here it is {run['dataset']}."
    if row.eps is None:
        yield "Eps is not stated there."
    elif _other_eps(row, run):
        here = "none" if run["eps"] is None else format_number(run["eps"])
        yield f"Eps is {format_number(row.eps)} there and {here} here: intervals are not compared."
    if row.n is None:
        yield "There the number of images is not known, so there is no interval."
    stated, counted = row.model.stated_parameters, run["nonzero_parameters"]
    if stated is not None and counted is not None and stated != counted:
        yield f"{stated:,} parameters are stated there; {counted:,} that are not zero are here."
        yield from (flag.text for flag in size_flags(row.model))
