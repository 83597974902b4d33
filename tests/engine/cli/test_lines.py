"""What a command says to the window that started it: JSON lines on standard error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from torch import nn
from tqdm import tqdm
from tqdm.auto import tqdm as auto_tqdm

from engine.cli import importing
from engine.cli.lines import progress_bars
from engine.cli.main import main
from engine.errors import ModelError
from engine.importing.doctor import Examined
from tests.helpers.import_kit import report

IMPORT = ("import", "net.pth", "--dataset", "digits")


@pytest.fixture(autouse=True)
def no_thread_that_watches_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tqdm, "monitor_interval", 0)


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    done = CliRunner().invoke(main, arguments)
    return done.exit_code, done.stdout, done.stderr


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line]


def refusing(*_: object, **__: object) -> Examined:
    table = (("in", "out"), ("1", "22"))
    raise ModelError("The file is odd.", "Name one with --part.", field="part", table=table)


def test_an_error_names_hint_and_field(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importing, "import_model", refusing)
    options = (*IMPORT, "--db", str(tmp_path / "x.db"))
    status, out, said = call("--lines", *options)
    assert (status, out) == (2, "")
    assert objects(said) == [
        {
            **{"error": "The file is odd.", "hint": "Name one with --part.", "field": "part"},
            "table": [["in", "out"], ["1", "22"]],
        }
    ]
    sentence = "Error: The file is odd. Name one with --part."
    assert call(*options) == (2, "", f"{sentence}\n\nin    out\n----  -----\n1     22\n")


def test_a_wrong_option_is_an_error_too(tmp_path: Path) -> None:
    status, _, said = call("--lines", *IMPORT, "--limit", "few")
    assert status == 2
    (error,) = objects(said)
    assert "'few' is not a valid integer" in error["error"]
    assert call(*IMPORT, "--limit", "few")[2].startswith("Usage: ")
    numbers = (*IMPORT, "--mean", "a,b")
    assert objects(call("--lines", *numbers)[2])[0]["field"] == "mean"


def examining(found: Any) -> Any:
    def examine(*_: object, tell: Any, **__: object) -> Examined:
        tell("Measuring ...")
        with tqdm(total=4, mininterval=0, miniters=1) as bar:
            bar.update(1)
        return Examined(found, nn.Identity(), None)

    return examine


def test_progress_goes_beside_a_report_that_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sick = report(health="doubtful", model="", doubted="density")
    monkeypatch.setattr(importing, "import_model", examining(sick))
    options = (*IMPORT, "--db", str(tmp_path / "x.db"), "--json")
    status, out, said = call("--lines", *options)
    plain = call(*options)
    assert (status, out) == plain[:2] == (1, sick.model_dump_json(indent=2) + "\n")
    assert "doubted" not in out
    lines = objects(said)
    assert lines[0] == {"doing": "Measuring ..."}
    assert {"doing": "Downloading the weights ...", "share": 0.25} in lines
    assert lines[-1]["field"] == "density"
    assert plain[2].startswith("Measuring ...\n")
    assert plain[2].endswith("It was not stored. To store it all the same: --keep.\n")


@pytest.mark.parametrize("kind", [tqdm, auto_tqdm])
def test_bars_are_drawn_again_afterwards(kind: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with main.make_context("crumple", ["--lines", "list"], resilient_parsing=True) as context:
        context.params["lines"] = True
        with progress_bars("Loading"), kind(total=10, mininterval=0, miniters=1) as bar:
            bar.update(5)
        first = capsys.readouterr().err
        list(kind(range(3), desc="mine"))
    assert {"doing": "Loading", "share": 0.5} in objects(first)
    assert "mine: 100%" in capsys.readouterr().err
