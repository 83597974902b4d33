"""The program in a terminal: whole studies, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.compression import METHODS
from engine.errors import ModelError
from engine.specs.study import Study
from engine.store import RESULT_COLUMNS, Store
from tests.helpers.studies import small_study

TIMES = {"seconds", "created", "finished"}


def crumple(*args: object) -> list[str]:
    return [sys.executable, "-m", "engine", *map(str, args)]


def call(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(crumple(*args), capture_output=True, text=True, check=False)


def write(study: Study, folder: Path) -> Path:
    file = folder / "study.toml"
    file.write_text(study.to_toml())
    return file


def results(db: Path) -> list[dict[str, Any]]:
    with Store(db, readonly=True) as store:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in store.results()]


@pytest.mark.slow
def test_a_killed_study_resumes_and_gives_the_numbers_of_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    file = write(
        small_study(
            dataset={"name": "digits", "limit": 300},
            attack=[{"name": "pgd", "eps": 0.15, "steps": 60}],
        ),
        tmp_path,
    )
    db = tmp_path / "killed.db"
    process = subprocess.Popen(crumple("run", file, "--db", db), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:  # the first run is stored, the second is on its way
        if "robust" in line:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with Store(db, readonly=True) as store:
        states = [row["status"] for row in store.results()]
        finished_before = store.run(1)["finished"]
    assert states[0] == "finished"
    assert states[1] != "finished", "killed too late to prove anything"

    again = call("run", file, "--db", db, "--resume")
    assert again.returncode == 0, again.stderr
    assert "1 of 2 runs are stored already" in again.stderr
    with Store(db, readonly=True) as store:
        assert store.run(1)["finished"] == finished_before

    undisturbed = tmp_path / "undisturbed.db"
    assert call("run", file, "--db", undisturbed).returncode == 0
    assert results(db) == results(undisturbed)


@pytest.mark.slow
def test_results_and_samples_come_out_as_promised(tmp_path: Path) -> None:
    db = tmp_path / "context.db"
    assert call("run", write(small_study(), tmp_path), "--db", db).returncode == 0
    rows = json.loads(call("results", "--db", db, "--format", "json").stdout)
    assert len(rows) == 2
    assert set(RESULT_COLUMNS) <= set(rows[0])
    samples = json.loads(call("samples", 1, "--db", db, "--format", "json").stdout)
    assert len(samples) == rows[0]["n"] == 30
    broken = sum(sample["broken"] for sample in samples)
    assert 1 - broken / 30 == pytest.approx(rows[0]["robust_accuracy"])


@pytest.mark.slow
def test_a_study_with_a_failing_run_says_so_in_words_and_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ModelError("The first layer is missing.", "Import it again.")

    monkeypatch.setitem(METHODS, "magnitude", refuse)
    before = signal.getsignal(signal.SIGINT)
    done = CliRunner().invoke(
        main, ["run", str(write(small_study(), tmp_path)), "--db", str(tmp_path / "context.db")]
    )
    signal.signal(signal.SIGINT, before)
    assert done.exit_code == 1
    assert "FAILED: digits-resnet" in done.stderr
    assert "The first layer is missing. Import it again." in done.stderr
    assert "1 finished, 1 failed" in done.stderr


def test_data_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    study = small_study(dataset={"folder": str(tmp_path / "pictures")})
    done = call("run", write(study, tmp_path), "--db", tmp_path / "context.db")
    assert done.returncode == 2
    assert "pictures" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "study.toml"}
