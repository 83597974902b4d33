"""Examples of the documentation do what they are there for."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from torch import nn

from engine.cli.main import main
from engine.specs.study import Study
from tests.helpers.pages import ROOT, blocks

TABLES = [(path, tomllib.loads(code)) for path, code, _ in blocks("toml")]
STUDIES = [(path, table) for path, table in TABLES if "project" not in table]
SHELL = [
    (path, line.partition("  #")[0].strip())
    for path, code, _ in blocks("sh")
    for line in code.splitlines()
    if line.strip()
]
PROGRAMS = {
    f"{path}: {code.split(chr(10))[0]}": code
    for path, code, note in blocks("python")
    if note != "fragment" and not code.startswith("def ")  # signatures of the Python page
}


@pytest.mark.parametrize("number", range(len(STUDIES)))
def test_studies_can_be_run(number: int) -> None:
    study = Study.from_dict(STUDIES[number][1])
    assert study.runs()
    assert not study.unused()


def test_the_readme_has_a_study() -> None:
    assert "README.md" in {path for path, _ in STUDIES}


@pytest.mark.parametrize(("path", "line"), SHELL)
def test_commands_are_understood(path: str, line: str) -> None:
    program, *arguments = shlex.split(line)
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert arguments[0] in targets
    elif program == "crumple":
        command: click.Command | None = main
        while isinstance(command, click.Group):
            name = arguments.pop(0)
            command = command.get_command(click.Context(command), name)
            assert command is not None, f"{path}: {line}"
        command.make_context(name, arguments)  # parses, and does not run
    else:
        assert program.startswith(".venv/bin/"), f"{path}: {line}"


class Net(nn.Sequential):
    """What examples call their network."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 10))


TINY = """
name = "tiny"
dataset = { name = "digits", limit = 10 }
model = [{ name = "digits-resnet-at" }]
attack = [{ name = "fgsm", eps = 0.15 }]
"""


@pytest.mark.parametrize("title", PROGRAMS)
def test_programs_run(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.diagnostics.black_box.QUERIES", 100)  # takes most of the time
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "study.toml").write_text(TINY, "utf-8")
    (tmp_path / "my_networks.py").write_text(f"from {__name__} import Net", "utf-8")
    torch.save(Net().state_dict(), tmp_path / "weights.pth")
    names: dict[str, Any] = {"net": Net(), "images": torch.rand(2, 1, 8, 8)}
    exec(compile(PROGRAMS[title], title, "exec"), names)
    if "make" in names:
        assert isinstance(names["make"](), nn.Module)
    sys.modules.pop("my_networks", None)
    importlib.invalidate_caches()
