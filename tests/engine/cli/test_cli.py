"""The command line, called as a user calls it."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import engine
from engine import catalog
from engine.host import paths
from engine.specs.study import Study
from engine.store import RESULT_COLUMNS, TRANSFER_COLUMNS, Store
from tests.helpers.command_line import assert_refused, crumple
from tests.helpers.curve_store import add_transfers
from tests.helpers.filled_store import STUDY, fill
from tests.helpers.patience import HANG
from tests.helpers.studies import small_study


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "results.db"
    fill(path)
    return path


def test_version() -> None:
    assert crumple("--version").stdout == f"crumple, version {engine.__version__}\n"


@pytest.mark.parametrize("section", catalog.SECTIONS)
def test_list(section: str) -> None:
    known = list(catalog.section(section))
    assert [entry["id"] for entry in json.loads(crumple("list", section, "--json").stdout)] == known
    assert all(id_ in crumple("list", section).stdout for id_ in known)


def test_results_json_has_every_column(db: Path) -> None:
    rows = json.loads(crumple("results", "--db", db, "--format", "json").stdout)
    assert len(rows) == 6
    assert set(RESULT_COLUMNS) <= set(rows[0])


def test_results_of_one_study(db: Path) -> None:
    result = crumple("results", "--db", db, "--study", STUDY["name"], "--format", "csv")
    assert len(result.stdout.splitlines()) == 7
    assert_refused(crumple("results", "--db", db, "--study", "Two"), "'Two'", str(STUDY["name"]))


def test_results_of_an_empty_database_say_so(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    Store(path).close()
    result = crumple("results", "--db", path, "--format", "json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])
    assert "No runs" in result.stderr


@pytest.mark.parametrize("command", [["results"], ["samples", "1", "--format", "csv"]])
def test_databases_that_are_none(command: list[str], tmp_path: Path) -> None:
    text, other = tmp_path / "text.db", tmp_path / "other.db"
    text.write_text("this is not a database, but long enough to be looked at")
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE cats (name TEXT)")
    connection.close()
    missing = tmp_path / "missing" / "x.db"
    assert_refused(crumple(*command, "--db", missing), "no database", "missing")
    assert not missing.parent.exists()
    assert_refused(crumple(*command, "--db", text), "not a Crumple database")
    assert_refused(crumple(*command, "--db", other), "not a Crumple database")
    assert_refused(crumple(*command, "--db", tmp_path), "folder")


def test_samples(db: Path, tmp_path: Path) -> None:
    rows = json.loads(crumple("samples", 2, "--db", db, "--format", "json").stdout)
    assert sum(row["broken"] for row in rows) == 4
    binary = crumple("samples", 2, "--db", db, "--format", "npz").stdout_bytes
    out = tmp_path / "samples.npz"
    assert crumple("samples", 2, "--db", db, "--format", "npz", "--out", out).stdout == ""
    for npz in (np.load(io.BytesIO(binary)), np.load(out)):
        with npz:
            assert npz["broken"].sum() == 4
            assert npz["clean"].shape == (3, 1, 8, 8)


def test_samples_of_nothing(db: Path, tmp_path: Path) -> None:
    assert_refused(crumple("samples", 99, "--db", db, "--format", "csv"), "no run 99")
    nowhere = tmp_path / "missing" / "samples.csv"
    refused = crumple("samples", 1, "--db", db, "--format", "csv", "--out", nowhere)
    assert_refused(refused, "samples.csv", "cannot be written")


def test_transfer_prints_one_row_per_pair(db: Path) -> None:
    add_transfers(db, [[1, 3, 5], [2, 4]])
    rows = json.loads(crumple("transfer", "--db", db, "--format", "json").stdout)
    assert [tuple(row) for row in rows] == [TRANSFER_COLUMNS] * 13
    named = crumple("transfer", "--db", db, "--study", STUDY["name"], "--format", "csv")
    assert len(named.stdout.splitlines()) == 14
    assert "magnitude 50%" in crumple("transfer", "--db", db).stdout
    assert_refused(crumple("transfer", "--db", db, "--study", "Two"), "'Two'")


def test_transfer_of_nothing_says_when_there_would_be_some(db: Path) -> None:
    result = crumple("transfer", "--db", db, "--format", "json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])
    assert "after its last run" in result.stderr


def test_chart_writes_the_picture_and_nothing_to_stdout(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "chart.svg"
    result = crumple("chart", "--kind", "curve", "--out", out, "--db", db, "--run", 1, "--run", 2)
    assert (result.exit_code, result.stdout) == (0, "")
    text = out.read_text("utf-8")
    assert "fgsm 0.15" in text
    assert "pgd-4 0.15" in text
    assert "magnitude" not in text, "only the chosen runs are drawn"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "chart.gif"], [".gif", ".svg"]),
        (["--out", "chart.svg", "--run", "1", "--run", "99"], ["no run 99"]),
        (["--out", "chart.svg", "--study", "Two"], ["'Two'"]),
        (["--out", "missing/chart.svg"], ["cannot be written"]),
    ],
)
def test_charts_that_cannot_be(
    db: Path, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    arguments[1] = str(tmp_path / arguments[1])
    assert_refused(crumple("chart", "--kind", "bars", "--db", db, *arguments), *words)
    assert not list(tmp_path.rglob("chart*"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"magnitude"', '"magnitud"', ["'magnitud'", "Did you mean 'magnitude'?"]),
        ("eps = 0.15", "eps = -1", ["eps", "-1", "greater than or equal to 0"]),
        ("[0.5, 0.9]", "1.2", ["sparsity", "1.2", "less than 1"]),
        ('name = "digits"\n', 'folder = "there-is-none"\n', ["there-is-none"]),
        ("[dataset]", "[dataset", ["not valid TOML"]),
    ],
)
def test_studies_that_cannot_be(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    text = paths.example_study().read_text("utf-8")
    assert old in text
    study, db = tmp_path / "study.toml", tmp_path / "results.db"
    study.write_text(text.replace(old, new, 1), "utf-8")
    assert_refused(crumple("run", study, "--db", db), *words)
    if db.exists():
        assert "No runs" in crumple("results", "--db", db).stderr


def test_the_window_gets_what_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[list[str]] = []
    window = SimpleNamespace(main=lambda arguments: calls.append(arguments) or 3)
    monkeypatch.setitem(sys.modules, "gui.__main__", window)
    db = str(tmp_path / "x.db")
    assert crumple("gui", "--db", db, "--page", "queue", "--study", "s.toml").exit_code == 3
    assert crumple("gui", "--screenshot", "queue.png", "--db", db).exit_code == 3
    assert crumple().exit_code == 3
    assert calls == [
        ["--db", db, "--page", "queue", "--study", "s.toml"],
        ["--db", db, "--screenshot", "queue.png"],
        ["--db", str(paths.default_database())],
    ]


@pytest.mark.parametrize("arguments", [["list", "attacks"], ["--help"], ["--version"]])
def test_light_commands_load_neither_torch_nor_qt(arguments: list[str]) -> None:
    script = (
        "import sys; from engine.cli.main import main; main(sys.argv[1:], standalone_mode=False); "
        "assert not {'torch', 'PySide6', 'matplotlib', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, timeout=HANG)


def test_python_m_engine_is_the_command(db: Path) -> None:
    command = [sys.executable, "-m", "engine", "results", "--db", str(db), "--format", "csv"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=HANG)
    assert len(done.stdout.splitlines()) == 7


def test_the_example_is_what_the_readme_says() -> None:
    study = Study.from_toml(paths.example_study())
    assert [recipe[0].name for recipe in study.recipes() if recipe] == ["magnitude"] * 2 + [
        "ptq"
    ] * 2
    assert [attack.name for attack in study.attack_specs()] == ["fgsm", "pgd"]
    assert len(study.runs()) == 2 * 5 * 2


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("nonsense", "There is no device 'nonsense'"),
        ("meta", "'meta' cannot be used"),
        ("cuda:99", "'cuda:99' cannot be used"),
    ],
)
def test_a_device_that_cannot_be_used_leaves_no_database(
    tmp_path: Path, device: str, words: str
) -> None:
    study = tmp_path / "study.toml"
    study.write_text(small_study().to_toml())
    done = crumple("run", study, "--db", tmp_path / "new" / "lab.db", "--device", device)
    assert_refused(done, words, "Use auto, cpu")
    assert not (tmp_path / "new").exists()
