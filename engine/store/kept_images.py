"""The images that a run kept, read from its files: each checked, and paired by its place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from engine.errors import StoreError
from engine.store import artifacts
from engine.store.artifacts import Arrays


def batch_file(run_id: int, start: int) -> str:
    """Where the examples of a batch lie, within the folder of artifacts."""
    return f"runs/{run_id}/batch-{start:07d}.safetensors"


def images_file(data_key: str) -> str:
    """Where the clean images of a study lie, within the folder of artifacts."""
    return f"images/{data_key}.safetensors"


def kept_images(db: Database, folder: Path, run_id: int, data_key: str) -> Arrays:
    """The kept images of a run: index (K,), clean and adversarial (K,C,H,W) in [0,1].

    Raises:
        StoreError: a file of them is missing, damaged or of another run.
    """
    artifacts.check_owner(folder, database_id(db))
    # By the stored batches: a file may lie there whose rows were never committed.
    starts = [
        row["start"]
        for row in db.query("SELECT start FROM batches WHERE run_id = ? ORDER BY start", (run_id,))
    ]
    clean_file = images_file(data_key)
    known = checksums(db, [clean_file, *(batch_file(run_id, start) for start in starts)])
    wanted = _wanted(folder, run_id, starts, known)
    empty = np.zeros((0, 1, 1, 1), np.float32)
    nothing: Arrays = {"index": np.zeros(0, np.int64), "clean": empty, "adversarial": empty}
    if not wanted:
        return nothing
    clean = artifacts.read_arrays(folder / clean_file, known.get(clean_file))["images"]
    # Later files have the further examples of a worst case, which are many and not asked for.
    wanted = [start for start in wanted if start < len(clean)]
    parts = [_part(db, folder, run_id, start, known, clean) for start in wanted]
    if not parts:
        return nothing
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _wanted(folder: Path, run_id: int, starts: list[int], known: dict[str, str]) -> list[int]:
    """The batches that kept images; of old ones without a checksum, up to the last file."""
    names = [batch_file(run_id, start) for start in starts]
    there = [name in known or (folder / name).exists() for name in names]
    last = max((place for place, is_there in enumerate(there) if is_there), default=-1)
    return starts[: last + 1]


def _part(
    db: Database, folder: Path, run_id: int, start: int, known: dict[str, str], clean: NDArray[Any]
) -> Arrays:
    name = batch_file(run_id, start)
    part = artifacts.read_arrays(folder / name, known.get(name))
    count = len(part["index"])
    rows = db.query(
        'SELECT "index" FROM samples WHERE run_id = ? AND place >= ? ORDER BY place LIMIT ?',
        (run_id, start, count),
    )
    if [row["index"] for row in rows] != part["index"].tolist() or len(clean) < start + count:
        raise StoreError(
            f"The file {folder / name} holds images of another run than {run_id}.",
            "Restore it from a copy of the folder, or delete the run and start its study again.",
        )
    kept = {name: part[name] for name in ("index", "adversarial")}
    return {**kept, "clean": clean[start : start + count]}


def examples(
    db: Database, folder: Path, run_id: int, first: int, last: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The stored examples that broke images at places from ``first`` to ``last``, exclusive.

    Their places (M) and themselves (M,C,H,W); images that are wrong without an attack have none.

    Raises:
        StoreError: as ``kept_images``.
    """
    artifacts.check_owner(folder, database_id(db))
    broken = {
        row["place"]
        for row in db.query(
            "SELECT place FROM samples WHERE run_id = ? AND place >= ? AND place < ? "
            "AND broken AND clean_prediction = label",
            (run_id, first, last),
        )
    }
    none = np.zeros(0, np.int64), np.zeros((0, 1, 1, 1), np.float32)
    if not broken:
        return none
    batches = db.query(
        "SELECT start FROM batches WHERE run_id = ? AND start < ? AND start + size > ?",
        (run_id, last, first),
    )
    files = {batch_file(run_id, row["start"]): row["start"] for row in batches}
    found: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    for name, checksum in checksums(db, list(files)).items():  # others kept no images
        part, start = artifacts.read_arrays(folder / name, checksum), files[name]
        found.append((start + np.arange(len(part["index"])), part["adversarial"]))
        if "more" in part:
            found.append((part["more_place"], part["more"]))
    chosen = [(places, np.isin(places, list(broken)), images) for places, images in found]
    taken = [(places[which], images[which]) for places, which, images in chosen if which.any()]
    if not taken:
        return none
    places, images = (np.concatenate(parts) for parts in zip(*taken, strict=True))
    return places.astype(np.int64), images


def database_id(db: Database) -> str:
    """The id that a database got when it was made; empty if it is older and only read."""
    if "identity" not in db.table_names():
        return ""
    return next((str(row["id"]) for row in db.query("SELECT id FROM identity")), "")


def checksums(db: Database, files: Sequence[str] | None = None) -> dict[str, str]:
    """The SHA-256 of these files, or of all, by their places within the folder of artifacts."""
    if "files" not in db.table_names():
        return {}
    sql = "SELECT path, sha256 FROM files"
    if files is None:
        rows = db.query(sql)
    else:
        given = (json.dumps(files),)
        rows = db.query(
            f"{sql} WHERE path IN (SELECT value FROM json_each(?)) ORDER BY path", given
        )
    return {row["path"]: row["sha256"] for row in rows}
