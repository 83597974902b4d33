"""Well-known recipes, ready made: the files in ``resources/recipes``; free of torch."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from engine.catalog import compressions
from engine.catalog.entry import setting
from engine.catalog.strict import Strict
from engine.host import paths


class Preset(Strict):
    """A recipe to start from.

    Attributes:
        id: the name of its file.
        title: for people.
        summary: one sentence.
        paper: the source, as author, year and arXiv number.
        steps: tables as in a study file.
        shortened: how long the paper trains, where this is shorter and its methods do not know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: str
    title: str
    summary: str
    paper: str = ""
    shortened: str = ""
    steps: tuple[dict[str, Any], ...] = Field(min_length=1)

    @property
    def name(self) -> str:
        """What it is called: ``Hydra 90 %, shortened``."""
        return f"{self.title}, shortened" if self.longer else self.title

    @property
    def longer(self) -> str:
        """How long the paper trains, in a sentence; empty if this trains as long."""
        known = compressions.entries()
        found: dict[str, int] = {}
        for step in self.steps:
            params = {name: value for name, value in step.items() if name != "name"}
            found |= known[step["name"]].params.model_validate(params).shortened()
        words = [setting(name, value) for name, value in found.items()]
        return self.shortened or (f"Published with {', '.join(words)}." if words else "")


def folder() -> Path:
    """Where the files are."""
    return paths.resources() / "recipes"


def read(path: Path) -> Preset:
    """One file.

    Raises:
        pydantic.ValidationError: it has other keys, or lacks one.
    """
    return Preset.model_validate({"id": path.stem, **tomllib.loads(path.read_text("utf-8"))})


def presets() -> tuple[Preset, ...]:
    """All recipes whose methods are in the catalogue, by name."""
    known = compressions.entries()
    found = [read(path) for path in folder().glob("*.toml")]
    offered = [one for one in found if all(step.get("name") in known for step in one.steps)]
    return tuple(sorted(offered, key=lambda one: one.name))
