"""The README tells the truth: every command, option, id and file that it owes or names."""

from __future__ import annotations

import re
import runpy
import tomllib

import click
import pytest

from engine import catalog
from engine.cli.main import main
from engine.specs.study import Study
from tests.helpers.readme import README, ROOT, section

PROSE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
COMMANDS = sorted(main.list_commands(click.Context(main)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_described(name: str) -> None:
    text = section(f"### `crumple {name}")
    command = main.get_command(click.Context(main), name)
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    options = {option for option in known if option.startswith("-")}
    missing = {
        option for option in options if f"`{option}" not in text and f"[{option}" not in text
    }
    assert not missing, f"README: crumple {name} lacks {missing}"
    assert set(re.findall(r"--[a-z][a-z-]*", text)) <= options, "the README promises more"


@pytest.mark.parametrize("name", catalog.SECTIONS)
def test_every_id_of_the_catalogue_is_described(name: str) -> None:
    missing = [id_ for id_ in catalog.section(name) if f"`{id_}`" not in README]
    assert not missing, f"README lacks {missing}"


def test_every_flag_is_described_at_its_level() -> None:
    rows = re.findall(
        r"^\| `([a-z-]+)` \| ([a-z ]+) \|", section("## How to read the results"), re.MULTILINE
    )
    described = dict(rows)
    raised = {
        found
        for file in (ROOT / "engine").rglob("*.py")
        for found in re.findall(r'Flag\(\s*"([a-z-]+)",\s*"?(\w+)"?', file.read_text("utf-8"))
    }
    assert raised
    missing = {id_ for id_, _ in raised} ^ described.keys()
    assert not missing, f"README and engine differ in {missing}"
    levels = {id_: level for id_, level in raised if level != "level"}
    assert all(levels[id_] in described[id_] for id_ in levels)


def test_study_files_in_the_readme_can_be_run() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        assert Study.from_dict(tomllib.loads(block)).runs()


@pytest.mark.parametrize("name", PROSE)
def test_files_that_the_prose_names_exist(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    quoted = re.findall(r"`((?:engine|gui|resources|tests|packaging|docs)/[\w./-]*)`", text)
    missing = [path for path in {*linked, *quoted} if not (ROOT / path).exists()]
    assert not missing, f"{name} names {missing}"


@pytest.mark.parametrize("name", PROSE)
def test_make_targets_that_the_prose_names_exist(name: str) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    named = re.findall(r"\bmake ([a-z]+)`", (ROOT / name).read_text("utf-8"))
    assert set(named) <= set(targets)


def test_the_check_of_qt_names_what_is_missing() -> None:
    check = runpy.run_path(str(ROOT / "packaging" / "check_qt.py"))
    assert check["missing_packages"]({"libthere-is-none.so.1": "none-such"}) == ["none-such"]
    installed = (ROOT / ".ci" / "run").read_text("utf-8").split()
    known = {*check["LIBRARIES"].values(), *check["X11_LIBRARIES"].values()}
    assert known <= set(installed)
