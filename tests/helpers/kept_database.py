"""A database of before the rooms of ``engine`` were laid out, kept to be found again.

``databases/kept`` holds what ``crumple run study.toml --device cpu`` wrote then: the database,
the images of its runs (no weights), what results, lights and samples said (``expected.json``),
and the key of a run of each method with its defaults (``keys.json``).

Where a test says that a key changed, every database of users loses those runs: they would be
computed again. If that is meant, because the numbers of a stage became others and its version
was raised, run the study anew and replace what is kept.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "databases" / "kept"
STUDY = FOLDER / "study.toml"


def restore(folder: Path) -> Path:
    """A copy of the database with its artifacts in a folder; gives its path."""
    path = folder / "kept.db"
    shutil.copy(FOLDER / "results.sqlite", path)
    for name in ("images", "runs"):
        shutil.copytree(FOLDER / name, folder / "kept.artifacts" / name)
    return path


def expected() -> dict[str, Any]:
    """What was said of the runs when they were stored; numbers of runs are text there."""
    return dict(json.loads((FOLDER / "expected.json").read_text("utf-8")))


def keys() -> dict[str, dict[str, str]]:
    """The key of a run of each attack and each compression with its defaults."""
    return dict(json.loads((FOLDER / "keys.json").read_text("utf-8")))
