"""What was stored before is found as it was: keys, results, samples and lights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import catalog
from engine.events import Event, StudyFinished, StudyQueued
from engine.pipeline import runner
from engine.pipeline.runner import Options
from engine.specs.choices import make_attack
from engine.specs.study import Study
from engine.store import ResultRow, Store, Writer
from engine.store.stage_keys import (
    diagnostics_key,
    recipe_key,
    step_key,
    survivors_key,
    transfer_key,
)
from tests.helpers import kept_database

EXPECTED = kept_database.expected()
KEYS = kept_database.keys()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return kept_database.restore(tmp_path)


def as_then(rows: list[ResultRow]) -> list[dict[str, Any]]:
    """Rows with the columns that there were."""
    return [{name: row[name] for name in EXPECTED["results"][0]} for row in rows]


def test_nothing_of_a_study_of_before_is_computed_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stage in ("attack_stage.AttackStage.run", "variants.Variants.get"):
        monkeypatch.setattr(f"engine.pipeline.{stage}", None)  # would raise if it were called
    events: list[Event] = []
    with Writer(path) as store:
        before = store.db.execute("SELECT count(*) FROM runs").fetchone()
        study = Study.from_toml(kept_database.STUDY)
        summary = runner.run(study, store, events.append, options=Options(device="cpu"))
        assert store.db.execute("SELECT count(*) FROM runs").fetchone() == before
        assert summary.complete
        assert summary.finished == len(EXPECTED["results"])
        assert as_then(store.results("Kept")) == EXPECTED["results"]
    assert [type(event) for event in events] == [StudyQueued, StudyFinished]
    assert isinstance(events[0], StudyQueued)
    assert events[0].reused == len(EXPECTED["results"])


@pytest.mark.parametrize("migrated", [True, False])
def test_what_was_said_of_a_run_is_said_today(path: Path, migrated: bool) -> None:
    if migrated:
        Writer(path).close()
    with Store(path, readonly=True) as store:
        found = kept_database.said(store)
        assert {**found, "results": as_then(found["results"])} == EXPECTED
        for number, broken in EXPECTED["samples"].items():
            count = len(store.samples(int(number)))
            assert len(store.images(int(number))["adversarial"]) == count
            last = store.curve(int(number))[-1]
            assert last["robust_accuracy"] == pytest.approx(1 - broken / count)


@pytest.mark.parametrize("id_", KEYS["attacks"])
def test_the_key_of_an_attack_stays(id_: str) -> None:
    assert kept_database.key_of((), id_) == KEYS["attacks"][id_], kept_database.__doc__


@pytest.mark.parametrize("id_", KEYS["compressions"])
def test_the_key_of_a_compression_stays(id_: str) -> None:
    recipe = kept_database.recipe_of(id_)
    for precision, kept in (("fp32", "compressions"), ("bf16", "compressions trained in bf16")):
        assert kept_database.key_of(recipe, "pgd", precision) == KEYS[kept][id_], (
            kept_database.__doc__
        )


def test_every_method_of_before_is_still_there() -> None:
    assert KEYS["attacks"].keys() <= catalog.section("attacks").keys()
    assert KEYS["compressions"].keys() <= catalog.section("compressions").keys()


def test_the_keys_of_all_other_stages_stay(path: Path) -> None:
    """Those of the gate, of variants, of their steps and recipes, and of transfers."""
    with Writer(path) as store:
        rows = [store.run(row["run_id"]) for row in store.results()]
        pairs = list(store.db.query("SELECT source_run, target_run, key FROM transfers"))
        stages = {row["key"]: row["kind"] for row in store.db.query("SELECT key, kind FROM stages")}
    made = {
        **{diagnostics_key(row["variant_key"], row["data_key"]): "diagnostics" for row in rows},
        **{recipe_key(row["variant_key"]): "recipe" for row in rows},
        **{row["variant_key"]: "variant" for row in rows},
    }
    steps = {key for key, kind in stages.items() if kind == "step"}
    own = {step_key(row["variant_key"]) for row in rows if row["spec"]["recipe"]}
    assert own < steps, "the first step of the recipe of two has a key of its own"
    assert {key for key, kind in stages.items() if kind != "black-box"} == made.keys() | steps
    assert all(stages[key] == kind for key, kind in made.items())
    by_id = {row["run_id"]: row for row in rows}
    for pair in pairs:
        source, target = by_id[pair["source_run"]], by_id[pair["target_run"]]
        assert pair["key"] == transfer_key(source["key"], target["variant_key"])
    assert len(pairs) == 64


def test_the_keys_of_checks_of_survivors_stay(path: Path) -> None:
    with Writer(path) as store:
        rows = [store.run(row["run_id"]) for row in store.results()]
        for row in rows:
            left = [n for n, one in enumerate(store.samples(row["run_id"])) if not one["broken"]]
            for check in row["checks"]["survivors"]:
                shared = {"eps": row["eps"], "norm": row["norm"]}
                more = {"n_queries": 1000} if check["name"] == "square" else {"targets": 3}
                rival = make_attack({"name": check["name"], **shared, **more})
                assert store.stage(survivors_key(row["key"], rival, left)) == check
        assert sum(len(row["checks"]["survivors"]) for row in rows) == 12


def test_a_migration_stores_what_labels_are_made_from(path: Path) -> None:
    """Those of runs of before are the parts of the labels that were stored then."""
    with Writer(path) as store:
        rows = store.results("Kept")
        for row in rows:
            labels = [step["label"] for step in row["recipe"]]
            assert (" + ".join(labels) or "none") == row["compression"]
            assert row["attack"].startswith(row["attack_id"])
    last = rows[-1]["recipe"]
    assert [step["name"] for step in last] == ["magnitude", "finetune"]
    assert [step["brief"] for step in last] == ["magnitude 90%", "finetune standard 1ep"]
