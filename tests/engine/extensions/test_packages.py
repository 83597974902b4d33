"""Installed packages bring methods by their entry points, without being imported to be listed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import tomli_w
from click.testing import CliRunner

from engine import api, catalog, extensions
from engine.cli.main import main
from engine.extensions import child
from tests.helpers.own_methods import GREY, HEAD, forget, has_run, without_processes, write_package

METHOD = f"{HEAD}\nMETHOD = AttackMethod(entry(), make)\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    without_processes(monkeypatch, tmp_path)
    file = write_package(tmp_path / "site", METHOD)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "crumple_mine", raising=False)
    return file


def test_a_package_is_asked_once_and_offered_with_its_version(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state,) = extensions.activate(ask=False)
    assert "not asked" in state.problem
    assert not has_run(installed)
    (state,) = extensions.activate()
    assert state.ids == ("mine",)
    origin = catalog.find("attacks", "mine").origin
    assert origin is not None
    assert (origin.name, origin.version) == ("crumple-mine", "1.2")
    assert state.name == origin.label

    forget(installed)
    monkeypatch.delattr(child, "ask")  # would raise if it were asked again
    assert extensions.activate()[0].ids == ("mine",)
    assert not has_run(installed)


def test_a_changed_package_is_another_origin(installed: Path) -> None:
    extensions.activate()
    before = catalog.find("attacks", "mine").origin
    (installed.parent / "helper.py").write_text("x = 1")
    extensions.activate()
    after = catalog.find("attacks", "mine").origin
    assert before is not None
    assert after is not None
    assert before.sha256 != after.sha256


def test_a_broken_package_is_left_out_and_the_rest_works(installed: Path) -> None:
    write_package(installed.parents[1], "1 / 0", name="crumple-bad")
    states = {state.name.split()[0]: state for state in extensions.activate()}
    assert "ZeroDivisionError" in states["crumple-bad"].problem
    assert states["crumple-mine"].ids == ("mine",)


def test_what_lies_in_the_current_folder_is_no_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook has it on its path, and somebody else's folder may hold anything."""
    without_processes(monkeypatch, tmp_path)
    file = write_package(tmp_path / "theirs", METHOD)
    monkeypatch.chdir(tmp_path / "theirs")
    for path in ("", str(tmp_path / "theirs")):
        monkeypatch.syspath_prepend(path)
        assert extensions.activate() == ()
    assert not has_run(file)
    monkeypatch.chdir(tmp_path)
    assert len(extensions.activate()) == 1


def test_a_package_in_the_wrong_group_is_named(tmp_path: Path, installed: Path) -> None:
    points = next(installed.parents[1].glob("*.dist-info")) / "entry_points.txt"
    points.write_text("[crumple.compressions]\nmine = crumple_mine:METHOD\n")
    (state,) = extensions.activate()
    assert "no CompressionMethod" in state.problem


def test_a_study_runs_the_attack_of_a_package_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_processes(monkeypatch, tmp_path)
    write_package(tmp_path / "site", GREY, name="crumple-grey")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    file, db = tmp_path / "grey.toml", tmp_path / "grey.db"
    tables = {
        "name": "grey",
        "dataset": {"name": "digits", "limit": 10},
        "model": [{"name": "digits-resnet-at"}],
        "attack": [{"name": "grey"}],
    }
    file.write_text(tomli_w.dumps(tables))
    done = CliRunner().invoke(main, ["run", str(file), "--db", str(db), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    (row,) = api.results(db)
    assert row["status"] == "finished"
    assert "[crumple-grey 1.2 " in str(row["attack"])
