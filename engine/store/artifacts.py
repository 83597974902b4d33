"""The folder beside the database: images as safetensors, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import StoreError

Arrays = dict[str, NDArray[Any]]

_MARK = "owner.json"
"""Says whose folder it is: the id of the database and the name of its file."""


def folder_of(database: Path) -> Path:
    """Where the artifacts of a database lie: beside it, named by its whole file name.

    Earlier versions named the folder without the ending, so that ``q.db`` and ``q.sqlite`` had
    one between them. Such a folder is used unless it is known to be another database's.
    """
    file = database.resolve()  # a link to a database is that database
    folder = file.parent / f"{file.name}.artifacts"
    former = _former(file)
    if not folder.exists() and former.is_dir() and _owner(former).get("file") in (None, file.name):
        return former
    return folder


def _former(file: Path) -> Path:
    return file.parent / f"{file.stem}.artifacts"


def models_of(database: Path) -> Path:
    """Where the model library of a database lies; one that two of them shared stays in sight."""
    models, former = folder_of(database) / "models", _former(database.resolve()) / "models"
    return former if not models.exists() and former.is_dir() else models


def check_owner(folder: Path, database_id: str) -> None:
    """See that a folder is not that of another database.

    Raises:
        StoreError: it is; the message names both.
    """
    owner = _owner(folder)
    if owner.get("database", database_id) != database_id:
        raise StoreError(
            f"The folder {folder} belongs to another database ({owner.get('file', 'unknown')}).",
            "Move it to where its database is, or restore the folder of this one from a copy.",
        )


def claim(folder: Path, database: Path, database_id: str) -> None:
    """Make the folder, and write into it whose it is.

    Where the folder of an earlier version went to another database, what lies there is taken
    over: either of the two may have written it.

    Raises:
        StoreError: it is the folder of another database.
    """
    check_owner(folder, database_id)
    if _owner(folder):
        return
    file = database.resolve()
    former = _former(file)
    if not folder.exists() and former.is_dir() and former != folder:
        ours = shutil.ignore_patterns(_MARK)
        shutil.copytree(former, folder, ignore=ours, copy_function=_link)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The folder {folder} cannot be made: {error.strerror}.",
            "Move away what is in its place, or restore the folder from a copy.",
        ) from None
    mark = json.dumps({"database": database_id, "file": file.name})
    _write_synced(folder / _MARK, mark.encode())


def _link(source: str, target: str) -> None:
    """Files of artifacts are replaced, never changed, so that two folders may have one."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _owner(folder: Path) -> dict[str, Any]:
    try:
        owner = json.loads((folder / _MARK).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def write_arrays(path: Path, arrays: Arrays) -> str:
    """Write arrays to a safetensors file, on the disk before this returns; gives its SHA-256.

    An interrupted write leaves no file.
    """
    from safetensors.numpy import save

    path.parent.mkdir(parents=True, exist_ok=True)
    content = save({name: np.ascontiguousarray(a) for name, a in arrays.items()})
    _write_synced(path, content)
    return hashlib.sha256(content).hexdigest()


def _write_synced(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read_arrays(path: Path, checksum: str | None = None) -> Arrays:
    """Read what ``write_arrays`` wrote.

    Args:
        checksum: the SHA-256 that the content has to have; None if it was never taken.

    Raises:
        StoreError: the file is missing, cannot be read or is not what was written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _lost(path, "is missing") from None
    except OSError as error:
        raise _lost(path, f"cannot be read: {error.strerror}") from None
    if checksum is not None and hashlib.sha256(content).hexdigest() != checksum:
        raise _lost(path, "is not what was written; it was changed or damaged")
    try:
        return dict(load(content))
    except (SafetensorError, ValueError, KeyError):
        raise _lost(path, "is damaged") from None


def _lost(path: Path, why: str) -> StoreError:
    return StoreError(
        f"The file {path} {why}.",
        "Restore it from a copy of the folder, or delete the run and start its study again.",
    )
