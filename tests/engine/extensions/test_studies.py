"""Methods from outside in studies: keys, labels, runs, and what others' files cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from engine import api, catalog, extensions
from engine.cli.main import main
from engine.data import load
from engine.errors import DataError, SpecError
from engine.pipeline.runner import Options, Runner
from engine.report import identity
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Study
from engine.store import Store, Writer
from engine.store.stage_keys import run_keys
from tests.helpers.own_methods import EXAMPLES, HEAD, has_run, without_processes, write
from tests.helpers.studies import small_study

STUDY: dict[str, Any] = {
    "name": "own",
    "dataset": {"name": "digits", "limit": 10},
    "model": [{"name": "digits-resnet-at"}],
    "compression": [{"name": "random-pruning", "sparsity": 0.2}],
    "attack": [{"name": "sign-momentum", "eps": 0.4, "steps": 3}],
}
PIXELS = """
import numpy as np
from engine.data.source import Source

def open(spec, part):
    if part == "training":
        return None
    x = np.random.RandomState(0).randint(0, 256, (30, 1, 8, 8)).astype(np.uint8)
    y = np.arange(30) % 10
    return Source(y, tuple("0123456789"), (1, 8, 8), lambda rows: x[rows])

METHODS = [DatasetMethod(entry("squares", params=Params), open)]
"""


@pytest.fixture(autouse=True)
def own_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_processes(monkeypatch, tmp_path)


@pytest.fixture
def examples() -> None:
    for name in ("sign_momentum.py", "random_pruning.py"):
        extensions.add(EXAMPLES / name, lambda _: True)


def key_of(study: Study) -> str:
    return run_keys(study.runs()[-1], "data", "model", "fp32").run


@pytest.mark.usefixtures("examples")
def test_a_study_runs_from_the_command_line_and_the_origin_is_everywhere(tmp_path: Path) -> None:
    db, file = tmp_path / "own.db", tmp_path / "own.toml"
    file.write_text(Study.from_dict(STUDY).to_toml())
    assert "origin" not in file.read_text()
    write(tmp_path, "1 / 0", "broken.py")

    def crumple(*words: str) -> str:
        done = CliRunner().invoke(main, [*words, "--db", str(db)])
        assert done.exit_code == 0, done.output
        return done.stdout

    crumple("run", str(file), "--device", "cpu")
    rows = json.loads(crumple("results", "--format", "json"))
    assert [row["status"] for row in rows] == ["finished", "finished"]
    assert all("sign_momentum.py" in row["attack"] for row in rows)
    assert "random_pruning.py" in rows[1]["compression"]
    assert "sign-momentum" in crumple("list", "attacks")
    known = {one["id"]: one["origin"] for one in json.loads(crumple("list", "attacks", "--json"))}
    assert known["pgd"] is None
    assert known["sign-momentum"]["name"] == "sign_momentum.py"
    with Store(db) as store:
        spec = store.run(2)["spec"]
        accounting = store.variant(2)["accounting"]
    assert spec["attack"]["origin"] == known["sign-momentum"]
    assert spec["recipe"][0]["origin"]["sha256"]
    assert accounting["sparsity"] == pytest.approx(0.2, abs=0.01)

    # Found again, not made again; and read by those who do not trust the files.
    assert api.run_study(STUDY, db=db, device="cpu") == api.results(db)
    for name in ("sign_momentum.py", "random_pruning.py"):
        extensions.remove(name)
    assert crumple("results", "--format", "json")
    with pytest.raises(SpecError, match="random-pruning"):
        api.run_study(STUDY, db=db, device="cpu")


def test_keys_and_specs_of_built_in_methods_know_no_origin() -> None:
    run = small_study().runs()[-1]
    assert "origin" not in run.model_dump_json()
    assert set(run.model_dump()["attack"]) == {"name", "params"}


@pytest.mark.usefixtures("examples")
def test_another_state_of_a_file_is_another_key_and_another_label(tmp_path: Path) -> None:
    plain = (EXAMPLES / "sign_momentum.py").read_text()
    first, label = key_of(Study.from_dict(STUDY)), Study.from_dict(STUDY).attack_specs()[0].label
    extensions.remove("sign-momentum")
    write(tmp_path, f"{plain}\n# changed", "sign_momentum.py")
    extensions.add(tmp_path / "sign_momentum.py", lambda _: True)
    second = Study.from_dict(STUDY)
    assert key_of(second) != first
    assert second.attack_specs()[0].label != label
    # Where it lies is no part of it.
    extensions.remove("sign-momentum")
    write(tmp_path, plain, "sign_momentum.py")
    extensions.add(tmp_path / "sign_momentum.py", lambda _: True)
    assert key_of(Study.from_dict(STUDY)) == first


def test_a_study_file_cannot_name_code(tmp_path: Path) -> None:
    origin = {"name": "own.py", "sha256": "0" * 64}
    with pytest.raises(SpecError, match="origin"):
        small_study(attack=[{"name": "pgd", "origin": origin}])
    with pytest.raises(SpecError, match="own"):
        small_study(attack=[{"name": "own.py:make"}])


@pytest.mark.usefixtures("examples")
def test_a_database_of_others_runs_no_code_and_brings_no_method(tmp_path: Path) -> None:
    db = tmp_path / "theirs.db"
    with Writer(db) as store:
        queued = Runner(store, print, Options("cpu")).enqueue(Study.from_dict(STUDY))
        for name in ("sign_momentum.py", "random_pruning.py"):
            extensions.remove(name)
        runner = Runner(store, lambda event: None, Options("cpu"))
        for run_id in queued.run_ids:
            store.next_waiting()
            runner.execute(run_id, lambda: False)
            row = store.run(run_id)
            assert row["status"] == "failed"
            assert "sign_momentum.py" in row["message"]
    assert "sign-momentum" not in catalog.section("attacks")


@pytest.mark.usefixtures("examples")
def test_a_file_that_changed_while_runs_waited_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    with Writer(tmp_path / "x.db") as store:
        runner = Runner(store, lambda event: None, Options("cpu"))
        (run_id, _) = runner.enqueue(Study.from_dict(STUDY)).run_ids
        extensions.remove("sign-momentum")
        changed = (EXAMPLES / "sign_momentum.py").read_text() + "\n# changed"
        extensions.add(write(tmp_path, changed, "sign_momentum.py"), lambda _: True)
        runner.execute(run_id, lambda: False)
        assert "is that of sign_momentum.py" in store.run(run_id)["message"]


def test_a_rule_of_its_own_refuses_a_study_before_it_is_queued(tmp_path: Path) -> None:
    code = """
from pydantic import model_validator

class Q(P):
    @model_validator(mode="after")
    def _even(self):
        if self.eps > 0.5:
            raise ValueError("wants eps up to one half")
        return self

METHODS = [AttackMethod(entry(params=Q), make)]
"""
    extensions.add(write(tmp_path, HEAD + code), lambda _: True)
    db = tmp_path / "x.db"
    study = {**STUDY, "compression": [], "attack": [{"name": "mine", "eps": 0.6}]}
    with pytest.raises(SpecError, match="one half"):
        api.run_study(study, db=db, device="cpu")
    assert not db.exists()


def test_a_dataset_from_outside_is_loaded_in_a_seeded_order(tmp_path: Path) -> None:
    file = write(tmp_path, HEAD + PIXELS)
    extensions.add(file, lambda _: True)
    assert has_run(file)
    spec = DatasetSpec(name="squares", limit=20)
    assert spec.label.startswith("squares [own.py ")
    images, again, other = load(spec, 0), load(spec, 0), load(spec, 1)
    assert images.images.shape == (20, 1, 8, 8)
    assert images.fingerprint == again.fingerprint != other.fingerprint
    assert np.bincount(images.labels.numpy()).tolist() == [2] * 10


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("np.uint8)", "np.float32)", "must be finite and in"),
        ("np.uint8)", "np.int64)", "uint8 or floats"),
        ("% 10", "% 11", "labels from 0 to 10"),
        ("(1, 8, 8), lambda", "(1, 9, 9), lambda", "pixels of shape"),
        ("(1, 8, 8), lambda", "(8, 8), lambda", "must be"),
        ("np.arange(30) % 10", "np.arange(30) / 10", "must be integers"),
        ("return Source(y", "return (y", "must be a Source"),
        ("x[rows]", "1 / 0", "ZeroDivisionError"),
        ('tuple("0123456789")', "()", "must name its classes"),
    ],
)
def test_a_bad_dataset_is_named(tmp_path: Path, before: str, after: str, reason: str) -> None:
    assert before in PIXELS
    extensions.add(write(tmp_path, HEAD + PIXELS.replace(before, after)), lambda _: True)
    with pytest.raises(DataError, match=reason) as error:
        load(DatasetSpec(name="squares"), 0)
    assert "squares" in str(error.value)


def test_two_states_of_a_file_are_two_series() -> None:
    def row(sha: str | None, name: str = "pgd") -> Any:
        origin = {"origin": {"name": "x.py", "version": "", "sha256": sha * 64}} if sha else {}
        choice = {"name": name, "params": {"eps": 0.1, "steps": 3}, **origin}
        spec = {"attack": choice, "recipe": [choice], "dataset": {}}
        return {"attack": name, "compression": name, "norm": "Linf", "spec": spec}

    for told in (identity.attack_key, identity.attack_name, identity.method, identity.family):
        assert len({told(row(sha)) for sha in (None, "1", "2")}) == 3
    assert identity.attack_name(row("1")) == "pgd-3 [x.py 1111111]"
    assert identity.method(row(None)) == "pgd"
