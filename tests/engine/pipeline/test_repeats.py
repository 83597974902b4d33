"""A study over seeds: what is computed once, what once for each seed, and what a stop leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from engine.events import Event, RunFinished, StageStarted
from engine.pipeline import runner
from engine.pipeline.runner import Options
from engine.report.repeats import repeats_of
from engine.specs.study import Run, Study
from engine.store import RunRow, Writer
from tests.helpers.studies import small_study

PRUNE = {"name": "magnitude", "sparsity": 0.5}
TUNE = {"name": "finetune", "epochs": 1}
STUDY = small_study(
    name="repeated",
    seeds=[5, 1],
    dataset={"name": "digits", "limit": 12, "train_limit": 160},
    compression=[PRUNE, {"steps": [PRUNE, TUNE]}],
    attack=[{"name": "pgd", "eps": 0.6, "steps": 3}],  # leaves nothing to check, which takes long
)


def run(store: Writer, study: Study, stop_after: int = 10**6) -> list[Event]:
    events: list[Event] = []

    def should_stop() -> bool:
        return sum(isinstance(event, RunFinished) for event in events) >= stop_after

    runner.run(study, store, events.append, should_stop, Options("cpu"))
    return events


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Writer, list[Event]]]:
    """The study, stopped in the middle and continued: its database, and all events."""
    with Writer(tmp_path_factory.mktemp("repeats") / "lab.db") as store:
        yield store, [*run(store, STUDY, stop_after=5), *run(store, STUDY)]


def rows_of(store: Writer) -> list[tuple[RunRow, Run]]:
    rows = [store.run(row["run_id"]) for row in store.results("repeated")]
    return [(row, Run.model_validate(row["spec"])) for row in rows]


def test_what_depends_on_no_seed_is_made_once(first: tuple[Writer, list[Event]]) -> None:
    store, events = first
    assert [row["status"] for row, _ in rows_of(store)] == ["finished"] * 8
    staged = Counter(
        (event.stage, event.detail) for event in events if isinstance(event, StageStarted)
    )
    assert staged["compression", "magnitude 50%"] == 1
    assert staged["compression", "finetune standard 1ep"] == 2
    gates = sum(count for (stage, _), count in staged.items() if stage == "diagnostics")
    assert gates == 1 + 1 + 2  # the base, the pruned one, and what each seed trained
    variants = {row["variant_key"] for row, _ in rows_of(store)}
    assert len(variants) == 4


def test_all_see_the_same_images_and_each_run_says_its_seed(
    first: tuple[Writer, list[Event]],
) -> None:
    store, _ = first
    images = {tuple(one["index"] for one in store.samples(row["id"])) for row, _ in rows_of(store)}
    assert len(images) == 1
    told = [(row["seed"], spec.attack_seed) for row, spec in rows_of(store)]
    assert told == [(5, None)] * 3 + [(1, None)] * 3 + [(5, 5 + 2**31), (1, 1 + 2**31)]
    again = [{flag["id"] for flag in row["flags"]} for row, _ in rows_of(store)]
    assert ["second-attack" in flags for flags in again] == [False] * 6 + [True] * 2


def test_each_seed_is_a_training_of_its_own(first: tuple[Writer, list[Event]]) -> None:
    store, _ = first
    made = {
        (spec.compression, spec.seed): row["environment"]["variant_fingerprint"]
        for row, spec in rows_of(store)
    }
    weights = {name: {made[name, seed] for seed in (5, 1)} for name, _ in made}
    assert [len(each) for each in weights.values()] == [1, 1, 2]


def test_the_first_seed_is_what_a_study_of_it_alone_finds(
    first: tuple[Writer, list[Event]],
) -> None:
    store, _ = first
    tables = {key: value for key, value in STUDY.to_dict().items() if key != "seeds"}
    events = run(store, Study.from_dict({**tables, "name": "alone", "seed": 5}))
    assert not any(isinstance(event, StageStarted) for event in events)  # all is stored
    assert len(store.results("alone")) == 3


def test_repeats_are_judged_by_their_own_baseline_and_transferred_among_themselves(
    first: tuple[Writer, list[Event]],
) -> None:
    store, _ = first
    rows = rows_of(store)
    assert not [row["id"] for row, _ in rows for flag in row["flags"] if "transfer" in flag["id"]]
    seeds = {row["id"]: (spec.seed, spec.attack_seed) for row, spec in rows}
    pairs = [(one["source_run"], one["target_run"]) for one in store.transfers("repeated")]
    assert len(pairs) == 2 * 3 * 3
    assert all(seeds[source] == seeds[target] for source, target in pairs)
    assert all(seeds[source][1] is None for source, _ in pairs)


def test_known_examples_are_of_the_same_repeat(first: tuple[Writer, list[Event]]) -> None:
    store, _ = first
    rows = rows_of(store)
    seeds = {row["id"]: (spec.seed, spec.attack_seed) for row, spec in rows}
    for row, _ in rows:
        fingerprint = row["environment"]["data_fingerprint"]
        sources = store.example_sources(row["id"], fingerprint)
        assert all(seeds[source] == seeds[row["id"]] for source in sources)
        assert len(sources) == (2 if seeds[row["id"]][1] is None else 0)


def test_the_table_tells_training_from_attack(first: tuple[Writer, list[Event]]) -> None:
    store, _ = first
    found = repeats_of(store.with_specs(store.results("repeated")))
    assert [one.source for one in found] == ["attack", "attack", "separated"]
    assert [len(one.rows) for one in found] == [2, 2, 2]
    assert [len(one.second) for one in found] == [0, 0, 2]
    # Runs that the study of one seed shares now bear its name, and are repeats all the same.
    assert len(repeats_of(store.with_specs(store.results()))) == 3


def test_a_check_of_the_database_finds_nothing_wrong(first: tuple[Writer, list[Event]]) -> None:
    from engine.store.spec_check import keys, specs

    store, _ = first
    assert [*keys(store.db), *specs(store.db)] == []
