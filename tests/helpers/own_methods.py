"""Methods from outside for tests: files, a package, and a way to load them without a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import SpecError
from engine.extensions import child
from engine.extensions.description import Description, describe
from engine.extensions.loading import load
from engine.extensions.providers import Provider

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"

HEAD = """
from pathlib import Path
from engine.catalog import Entry, Params
from engine.catalog.entry import Number
from engine.extensions import AttackMethod, CompressionMethod, DatasetMethod
from pydantic import Field
from typing import Literal

Path(__file__).with_suffix(".ran").touch()

class P(Params):
    eps: Number = Field(0.1, ge=0, le=1, title="eps", description="Radius.")

def entry(id="mine", **more):
    plain = dict(title="Mine", family="tests", summary="Of a test.", paper="", norm="Linf")
    return Entry(id=id, **{**plain, "params": P, **more})

def make(params):
    raise AssertionError("nobody attacks here")
"""

ATTACK = f"{HEAD}\nMETHODS = [AttackMethod(entry=entry(), make=make)]\n"

GREY = """
from engine.extend import Attack, AttackMethod, Entry, Field, Number, Params

class P(Params):
    eps: Number = Field(0.95, ge=0, le=1, title="eps", description="Radius.")

class Grey(Attack[P]):
    def run(self, search, pass_):
        rows = search.survivors()
        images = search.images[rows]
        search.judge(rows, images + self.params.eps * (0.5 - images), search.step + 1)

METHOD = AttackMethod(
    Entry("grey", "Grey", "of a package", "Towards grey.", "", P, norm="Linf"), Grey
)
"""
"""A package with an attack that needs nothing but the images."""


def write(folder: Path, text: str = ATTACK, name: str = "own.py") -> Path:
    """A file of methods."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def has_run(file: Path) -> bool:
    """Whether its code ran since ``forget``."""
    return file.with_suffix(".ran").exists()


def forget(file: Path) -> None:
    """As if it never ran."""
    file.with_suffix(".ran").unlink(missing_ok=True)


def here(provider: Provider) -> tuple[Description, ...]:
    """As ``child.ask``, in this process: quick, for code that is known to be harmless."""
    answer = child._answer(provider)
    if answer.message:
        raise SpecError(answer.message, answer.hint)
    return answer.methods


def described(file: Path) -> tuple[Description, ...]:
    """What the methods of a file say of themselves."""
    from engine.extensions.providers import of_file

    return tuple(describe(one) for one in load(of_file(file, file.read_bytes())))


def without_processes(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A record of trusted files of its own, and no process for each file."""
    monkeypatch.setenv("CRUMPLE_METHODS", str(folder / "record"))
    monkeypatch.setattr(child, "ask", here)


def write_package(
    folder: Path, text: str, *, name: str = "crumple-mine", version: str = "1.2"
) -> Path:
    """An installed package with one attack, as importlib.metadata finds it on the path."""
    module = name.replace("-", "_")
    (folder / module).mkdir(parents=True)
    (folder / module / "__init__.py").write_text(text, encoding="utf-8")
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(
        f"[crumple.attacks]\nmine = {module}:METHOD\n", encoding="utf-8"
    )
    return folder / module / "__init__.py"
