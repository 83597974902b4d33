"""What a report is made from, read from the store once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from engine import catalog
from engine.errors import SpecError, StoreError
from engine.report import identity
from engine.report.category_changes import Change, changes
from engine.report.defended import Defended, defended
from engine.report.differences import Difference, Samples, beside, differences, every_pair
from engine.report.evidence import Summary, lights, summarise
from engine.report.naming import BASE, REPEAT, titled
from engine.report.published.join import Pair, joined
from engine.report.published.rows import published
from engine.report.repeats import Repeats, repeats_of
from engine.specs.study import Study
from engine.statistics import worst_case
from engine.statistics.intervals import wilson
from engine.store import ResultRow, RunRow, SampleRow, Store

MOST_EXAMPLES = 6
"""Pictures of a run."""
MOST_DIFFERENCES = 200
"""Of methods to each other that are shown; the file has all."""
MOST_SHOWN = 8
"""Runs of which pictures are shown."""


@dataclass(frozen=True)
class WorstCase:
    """A variant in one threat model: what survives all that is stored.

    Attributes:
        rows: its runs in that norm and radius, the strongest first.
        verdict: what the checks of the strongest say of it; ``level`` ok only for evidence.
        share: of the images, in [0,1]; the figure to quote.
        low, high: ends of its Wilson interval.
        broke: who broke what; None where there is no ball.
    """

    rows: Sequence[ResultRow]
    share: float
    low: float
    high: float
    verdict: Summary
    broke: worst_case.WorstCase | None = None

    @property
    def strongest(self) -> ResultRow:
        """The run that left the fewest images."""
        return self.rows[0]

    @property
    def is_base(self) -> bool:
        """Whether it is the uncompressed model."""
        return identity.family(self.strongest) == BASE


@dataclass(frozen=True, eq=False)
class Example:
    """An image before and after, (C, H, W) in [0,1], and what the model said of each."""

    verdict: SampleRow
    clean: NDArray[np.float32]
    adversarial: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Contents:
    """A study with everything that is stored of it.

    Attributes:
        rows: all its runs, with specs and titles of models.
        finished: those with a result.
        compared: of those all but second attacks, which only tell how much an attack varies.
        repeats: what was repeated over seeds.
        differences: of variants to their base models.
        methods: of every two compressed variants.
        untested: why there are none of methods, where these would be too many.
        worst: of each variant in each threat model.
        changes: of variants under their categories, to their base models in the worst case.
        defended: of those, what defends them and at what cost.
        published: figures of others for the same thing as a run, beside it.
        examples: by run.
        verdicts: samples by run, for the finished ones.
        environments: by run: versions, device, precision, fingerprints.
        keys: by run: its content key and those of its variant and data.
    """

    study: Study
    rows: Sequence[ResultRow]
    finished: Sequence[ResultRow]
    compared: Sequence[ResultRow]
    repeats: Sequence[Repeats]
    differences: Sequence[Difference]
    methods: Sequence[Difference]
    untested: str
    worst: Sequence[WorstCase]
    changes: Sequence[Change]
    defended: Sequence[Defended]
    published: Sequence[Pair]
    examples: Mapping[int, Sequence[Example]]
    verdicts: Mapping[int, Sequence[SampleRow]]
    environments: Mapping[int, Mapping[str, Any]]
    keys: Mapping[int, Mapping[str, str]]


def contents(store: Store, name: str, titles: Mapping[str, str]) -> Contents:
    """Read a study.

    Args:
        store: the database.
        name: of the newest study of that name.
        titles: what models are called, by id.

    Raises:
        StoreError: there is no such study, or none of its runs is finished.
    """
    rows = titled(store.with_specs(store.results(name)), titles)
    study = store.study(next(one["id"] for one in store.studies() if one["name"] == name))
    if study.seeds:
        rows = [cast(ResultRow, {**row, REPEAT: f"seed {row['seed']}"}) for row in rows]
    finished = [row for row in rows if row["status"] == "finished"]
    if not finished:
        raise StoreError(
            f"No run of the study {name!r} is finished, so there is nothing to report.",
            "Finish one with: crumple run.",
        )
    compared = identity.first_attacks(finished)
    runs = {row["run_id"]: store.run(row["run_id"]) for row in finished}
    verdicts = {run_id: store.samples(run_id) for run_id in runs}
    changed = changes(compared, store)
    methods, untested = _methods(compared, verdicts.__getitem__)
    return Contents(
        study=study,
        rows=rows,
        finished=finished,
        compared=compared,
        repeats=repeats_of(finished),
        differences=differences(beside(compared), verdicts.__getitem__),
        methods=methods,
        untested=untested,
        worst=_worst_cases(compared, lambda run_id: _verdict(store, runs[run_id]), store.who_broke),
        changes=changed,
        defended=defended(changed, compared, store),
        published=joined(published(), compared, catalog.models.cards.cards()),
        examples=_examples(store, compared, verdicts),
        verdicts=verdicts,
        environments={run_id: run["environment"] for run_id, run in runs.items()},
        keys={
            run_id: {name: run[name] for name in ("key", "variant_key", "data_key")}
            for run_id, run in runs.items()
        },
    )


def _methods(rows: Sequence[ResultRow], samples: Samples) -> tuple[list[Difference], str]:
    """Method against method: compressed variants of all models; or why they are too many."""
    try:
        pairs = every_pair([row for row in rows if row["compression"] != BASE])
    except SpecError as error:  # what is beyond count would not be read, either
        return [], f"{error.message} Test those that you mean with: crumple compare RUN RUN"
    return differences(pairs, samples), ""


def foremost(found: Sequence[Difference]) -> list[Difference]:
    """Those that are shown where there is no room for all: the least likely to be chance."""
    ordered = sorted(found, key=lambda one: (one.adjusted, -abs(one.found.difference)))
    return ordered[:MOST_DIFFERENCES]


def _verdict(store: Store, run: RunRow) -> Summary:
    return summarise(run, lights(run, store.checks(run["run_id"])))


def _worst_cases(
    rows: Sequence[ResultRow],
    verdict: Callable[[int], Summary],
    who_broke: Callable[[int], worst_case.WorstCase | None],
) -> list[WorstCase]:
    found = []
    for group in identity.grouped(
        (row for row in rows if row["robust_accuracy"] is not None), identity.threat_key
    ).values():
        ordered = sorted(group, key=lambda row: row["robust_accuracy"] or 0.0)
        survive = [row["worst_case"] for row in group if row["worst_case"] is not None]
        # Without a verdict yet, what the strongest run left is the best bound there is.
        share = min([*survive, ordered[0]["robust_accuracy"] or 0.0])
        n = ordered[0]["n"] or 0
        low, high = wilson(round(share * n), n)
        said, broke = verdict(ordered[0]["run_id"]), who_broke(ordered[0]["run_id"])
        found.append(WorstCase(ordered, share, float(low), float(high), said, broke))
    return found


def _examples(
    store: Store, rows: Sequence[ResultRow], verdicts: Mapping[int, Sequence[SampleRow]]
) -> dict[int, list[Example]]:
    found: dict[int, list[Example]] = {}
    for row in rows:
        if len(found) == MOST_SHOWN:
            break
        images = store.images(row["run_id"])
        pairs = zip(verdicts[row["run_id"]], images["clean"], images["adversarial"], strict=False)
        fooled = [
            Example(verdict, clean, adversarial)
            for verdict, clean, adversarial in pairs
            if verdict["broken"] and verdict["clean_prediction"] == verdict["label"]
        ]
        if fooled:
            found[row["run_id"]] = fooled[:MOST_EXAMPLES]
    return found
