"""The folder beside the database: images as safetensors, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def folder_of(database: Path) -> Path:
    """Where the artifacts of a database lie."""
    file = database.resolve()  # a link to a database is that database
    return file.parent / f"{file.stem}.artifacts"


def models_of(database: Path) -> Path:
    """Where the model library of a database lies."""
    return folder_of(database) / "models"


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays to a safetensors file; an interrupted write leaves no file."""
    from safetensors.numpy import save

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(save({name: np.ascontiguousarray(a) for name, a in arrays.items()}))
    os.replace(partial, path)


def read_arrays(path: Path) -> Arrays:
    """Read what ``write_arrays`` wrote."""
    from safetensors.numpy import load

    return dict(load(path.read_bytes()))
