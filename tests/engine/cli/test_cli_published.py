"""``crumple published``, called as a user calls it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import catalog
from engine.catalog.models.cards import ModelCard
from engine.specs.study import Study
from engine.store import RunKeys, Writer
from engine.store.artifacts import models_of
from tests.helpers.command_line import assert_refused, crumple
from tests.helpers.filled_store import STUDY, fill

NAME = "Hydra again"


@pytest.fixture
def library() -> Iterator[None]:
    before = catalog.models.cards.library_folder()
    yield
    catalog.use_library(before)


@pytest.fixture
def db(tmp_path: Path, library: None) -> Path:
    """A study of one wide ResNet, pruned by Hydra, of which every number is made up."""
    path = tmp_path / "results.db"
    card = ModelCard(
        id="wide", title="Wide", summary="", architecture="wrn-28-4", dataset="cifar10",
        shape=(3, 32, 32), classes=10, parameters=5_849_050, clean_accuracy=0.8,
        test_images=10_000, fingerprint="f", recipe={"training": "trades"}, origin="imported",
    )  # fmt: skip
    models_of(path).mkdir(parents=True)
    (models_of(path) / "wide.json").write_text(card.model_dump_json(), "utf-8")
    catalog.use_library(models_of(path))
    study = Study.from_dict(
        {
            "name": NAME,
            "dataset": {"name": "cifar10", "limit": 200},
            "model": [{"name": "wide"}],
            "compression": [{"name": "hydra", "density": 0.01}],
            "attack": [{"name": "apgd-dlr"}],
        }
    )
    keys = [(run, RunKeys(run.compression, run.compression, "data")) for run in study.runs()]
    with Writer(path) as store:
        for run_id in store.add_study(study, keys).run_ids:
            store.start_run(run_id, 200)
            numbers = {"robust_accuracy": 0.45, "ci_low": 0.38, "ci_high": 0.52}
            store.end_run(run_id, "finished", n=200, nonzero_parameters=65_628, **numbers)
    return path


def test_figures_of_one_system() -> None:
    rows = json.loads(crumple("published", "--system", "RSLAD", "--format", "json").stdout)
    assert {row["method"] for row in rows} == {"rslad"}
    text = crumple("published", "--system", "rslad").stdout
    assert "4 [1.1, 13.5]" in text
    assert "contradicts-row: 4 %" in text
    assert_refused(crumple("published", "--system", "sgd"), "'sgd'", "Hydra")


def test_a_study_beside_them(db: Path) -> None:
    told = crumple("published", "--study", NAME, "--db", db, "--format", "json").stdout
    pairs = {pair["published_attack"]: pair for pair in json.loads(told)}
    assert pairs.keys() == {"apgd-ce", "apgd-dlr"}
    assert pairs["apgd-dlr"]["overlap"] is False
    assert pairs["apgd-dlr"]["variant"].startswith("hydra")
    text = crumple("published", "--study", NAME, "--db", db, "--system", "hydra").stdout
    assert "45 [38.0, 52.0]" in text
    assert "65,628 that are not zero are here" in " ".join(text.split())
    other = crumple("published", "--study", NAME, "--db", db, "--system", "ard")
    assert "No run" in other.stderr


def test_a_study_of_other_things_says_so(tmp_path: Path, library: None) -> None:
    path = tmp_path / "results.db"
    fill(path)
    name = str(STUDY["name"])
    result = crumple("published", "--study", name, "--db", path, "--format", "json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])
    assert "No run" in result.stderr
    assert_refused(crumple("published", "--study", "Two", "--db", path), "'Two'")


def test_a_database_without_a_study_is_a_mistake(tmp_path: Path) -> None:
    assert_refused(crumple("published", "--db", tmp_path / "results.db"), "--study")
