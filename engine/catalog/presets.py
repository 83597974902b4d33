"""Well-known recipes, ready made: the files in ``resources/recipes``; free of torch."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from engine.catalog import compressions
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
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: str
    title: str
    summary: str
    paper: str = ""
    steps: tuple[dict[str, Any], ...] = Field(min_length=1)


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
    """All recipes whose methods are in the catalogue, by title."""
    known = compressions.entries()
    found = [read(path) for path in folder().glob("*.toml")]
    offered = [one for one in found if all(step.get("name") in known for step in one.steps)]
    return tuple(sorted(offered, key=lambda one: one.title))
