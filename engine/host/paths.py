"""Where things lie: bundled resources, the default database, datasets."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

_ENGINE = Path(__file__).resolve().parent.parent


def resources() -> Path:
    """The folder of bundled models, studies, and icons (checkout or installed wheel)."""
    packaged = _ENGINE / "_resources"
    return packaged if packaged.is_dir() else _ENGINE.parent / "resources"


def documentation() -> Path:
    """The folder of the pages of documentation (checkout or installed wheel)."""
    packaged = _ENGINE / "_resources"
    return packaged / "docs" if packaged.is_dir() else _ENGINE.parent / "docs"


def default_database() -> Path:
    """The database used when none is named."""
    return Path(platformdirs.user_data_dir("crumple", appauthor=False)) / "crumple.db"


def datasets() -> Path:
    """The folder of published datasets: ``CRUMPLE_DATASETS``, else one in the user data folder."""
    chosen = os.environ.get("CRUMPLE_DATASETS")
    if chosen:
        return Path(chosen)
    return Path(platformdirs.user_data_dir("crumple", appauthor=False)) / "datasets"


def weights() -> Path:
    """Where downloaded weights lie: ``CRUMPLE_WEIGHTS``, else one in the user data folder."""
    chosen = os.environ.get("CRUMPLE_WEIGHTS")
    if chosen:
        return Path(chosen)
    return Path(platformdirs.user_data_dir("crumple", appauthor=False)) / "weights"


def methods() -> Path:
    """The record of trusted methods: in ``CRUMPLE_METHODS``, else in the user data folder.

    Never beside a database: one of somebody else's must not bring trust with it.
    """
    usual = platformdirs.user_data_dir("crumple", appauthor=False)
    return Path(os.environ.get("CRUMPLE_METHODS") or usual) / "methods.json"


def example_study() -> Path:
    """The small study that comes with the program."""
    return study_template("example")


def study_template(name: str) -> Path:
    """A study that comes with the program: the name of its file without ``.toml``."""
    return resources() / "studies" / f"{name}.toml"
