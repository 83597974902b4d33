"""Kinds of damage to a database, to the folder beside it, and to a model."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from engine.store.artifacts import folder_of
from tests.campaign.tally import damaged

Damage = Callable[[random.Random, Path], object]
"""Does it to a database and what lies beside it."""

_NUMBERS = [
    "n",
    "robust_accuracy",
    "clean_accuracy",
    "ci_low",
    "size_bytes",
    "parameters",
    "compression_rate",
    "queries_per_sample",
    "seconds",
    "transfer_accuracy",
    "black_box_accuracy",
    "eps",
]
_JSON = ["flags", "verdict", "checks", "recipe", "spec"]
_TEXTS = [
    "dataset",
    "model",
    "compression",
    "attack",
    "norm",
    "status",
    "created",
    "finished",
    "attack_id",
]
_OTHER_JSON = ("3", "[]", "{}", "null", "[3]", '[{"id": 1}]', '"text"', '{"flags": 3}')


def sql(path: Path, statement: str, *given: object) -> None:
    """Change rows behind the back of the program."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%_breaks_seal'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement, given)


def _bytes(file: Path, change: Callable[[bytearray], object]) -> None:
    content = bytearray(file.read_bytes())
    change(content)
    file.write_bytes(content)


def flip(rng: random.Random, file: Path) -> None:
    """One bit."""
    at = rng.randrange(file.stat().st_size)
    _bytes(file, lambda content: content.__setitem__(at, content[at] ^ 1 << rng.randrange(8)))


def _block(value: bytes, size: int) -> Damage:
    def damage(rng: random.Random, path: Path) -> None:
        at = rng.randrange(0, path.stat().st_size, size)
        _bytes(path, lambda content: content.__setitem__(slice(at, at + size), value * size))

    return damage


def truncate(rng: random.Random, file: Path) -> None:
    """Cut at any byte."""
    os.truncate(file, rng.randrange(file.stat().st_size))


def _swap_pages(rng: random.Random, path: Path) -> None:
    content, size = path.read_bytes(), 1024
    pages = [content[at : at + size] for at in range(0, len(content), size)]
    one, other = rng.sample(range(1, len(pages)), 2)
    pages[one], pages[other] = pages[other], pages[one]
    path.write_bytes(b"".join(pages))


def _header(rng: random.Random, path: Path) -> None:
    at = rng.randrange(100)
    _bytes(path, lambda content: content.__setitem__(at, rng.randrange(256)))


def _foreign(rng: random.Random, path: Path) -> None:
    path.unlink()
    sql(path, "CREATE TABLE people (name TEXT)")


def _folder(_: random.Random, path: Path) -> None:
    path.unlink()
    path.mkdir()


def _wal(rng: random.Random, path: Path) -> None:
    path.with_name(f"{path.name}-wal").write_bytes(rng.randbytes(rng.randrange(1, 9000)))


def _cut_wal(rng: random.Random, path: Path) -> None:
    """A second writer tagged; its changes are in a log that was cut."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE annotations SET tags = tags")
    log = path.with_name(f"{path.name}-wal")
    content = log.read_bytes() if log.exists() else b""
    connection.close()
    log.write_bytes(content[: rng.randrange(len(content) + 1)])


def _run(rng: random.Random) -> int:
    return rng.randrange(1, 17)


def _cell(columns: list[str], value: Callable[[random.Random], object]) -> Damage:
    def damage(rng: random.Random, path: Path) -> None:
        sql(path, f"UPDATE runs SET {rng.choice(columns)} = ? WHERE id = ?", value(rng), _run(rng))

    return damage


def _flipped_cell(table: str, columns: list[str], key: str = "rowid") -> Damage:
    """One bit of what a cell holds, whatever SQLite calls it afterwards."""

    def damage(rng: random.Random, path: Path) -> None:
        column = rng.choice(columns)
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute(
                f"SELECT {key}, CAST({column} AS BLOB), typeof({column}) FROM {table} "
                f"WHERE length({column})"
            ).fetchall()
        number, content, kind = rng.choice(rows)
        at = rng.randrange(len(content))
        content = bytearray(content)
        content[at] ^= 1 << rng.randrange(8)
        value = "CAST(? AS TEXT)" if kind == "text" else "?"
        sql(path, f"UPDATE {table} SET {column} = {value} WHERE {key} = ?", bytes(content), number)

    return damage


def _cut_cell(table: str, columns: list[str]) -> Damage:
    def damage(rng: random.Random, path: Path) -> None:
        column = rng.choice(columns)
        sql(
            path,
            f"UPDATE {table} SET {column} = substr({column}, 1, length({column}) * ? / 10) "
            f"WHERE rowid = (SELECT rowid FROM {table} WHERE length({column}) > 2 "
            "ORDER BY rowid LIMIT 1 OFFSET ?)",
            rng.randrange(10),
            rng.randrange(3),
        )

    return damage


def _rows(statement: str) -> Damage:
    return lambda rng, path: sql(path, statement.format(run=_run(rng), place=rng.randrange(12)))


def _other_number(rng: random.Random, path: Path) -> None:
    """A number that is one bit away from what it was."""
    column = rng.choice(["robust_accuracy", "ci_low", "clean_accuracy", "queries_per_sample"])
    sql(path, f"UPDATE runs SET {column} = {column} * 1.03 + 0.01 WHERE id = ?", _run(rng))


def _batch(rng: random.Random, path: Path) -> Path:
    return folder_of(path) / "runs" / str(_run(rng)) / "batch-0000000.safetensors"


def _images(_: random.Random, path: Path) -> Path:
    return next((folder_of(path) / "images").iterdir())


def _file(which: Callable[[random.Random, Path], Path], how: Damage) -> Damage:
    return lambda rng, path: how(rng, which(rng, path))


def _empty(_: random.Random, file: Path) -> None:
    file.write_bytes(b"")


def _remove(_: random.Random, file: Path) -> None:
    file.unlink()


def _mangle(rng: random.Random, file: Path) -> None:
    file.write_bytes(damaged(file.read_bytes(), rng) + b"x")


def _swap(rng: random.Random, path: Path) -> None:
    one, other = rng.sample(range(1, 17), 2)
    folder = folder_of(path) / "runs"
    for source, target in ((one, "x"), (other, one), ("x", other)):
        (folder / str(source)).rename(folder / str(target))


def _other_artifacts(rng: random.Random, path: Path) -> None:
    mark = folder_of(path) / "owner.json"
    mark.write_text('{"database": "another", "file": "another.db"}')


def _broken_mark(rng: random.Random, path: Path) -> None:
    (folder_of(path) / "owner.json").write_bytes(rng.randbytes(20))


def _file_for_folder(_: random.Random, path: Path) -> None:
    folder = folder_of(path)
    shutil.rmtree(folder)
    folder.write_bytes(b"file")


def _no_folder(name: str) -> Damage:
    return lambda rng, path: shutil.rmtree(folder_of(path) / name.format(run=_run(rng)))


def _newer(rng: random.Random, path: Path) -> None:
    sql(
        path,
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
        "VALUES ('crumple', '0999_later', '')",
    )


KINDS: dict[str, Damage] = {
    "bit of the database": flip,
    "block of the database filled with ones": _block(b"\xff", 512),
    "block of the database zeroed": _block(b"\0", 1024),
    "database truncated": truncate,
    "database emptied": _empty,
    "database is text": lambda rng, path: path.write_text("no database" * 50),
    "database is another program's": _foreign,
    "database is a folder": _folder,
    "database removed": _remove,
    "header of the database": _header,
    "pages of the database swapped": _swap_pages,
    "database cut, doubled or shifted": lambda rng, path: path.write_bytes(
        damaged(path.read_bytes(), rng)
    ),
    "log of another database": _wal,
    "log cut": _cut_wal,
    "bit of a number": _other_number,
    "bit of JSON of a run": _flipped_cell("runs", _JSON),
    "bit of a text of a run": _flipped_cell("runs", _TEXTS),
    "JSON of a run cut": _cut_cell("runs", _JSON),
    "JSON of a run of another kind": _cell(_JSON, lambda rng: rng.choice(_OTHER_JSON)),
    "text for a number": _cell(_NUMBERS, lambda rng: rng.choice(("", "abc", "1e999", "=1+1"))),
    "bytes for a number": _cell(_NUMBERS, lambda rng: rng.randbytes(3)),
    "number missing": _cell(_NUMBERS, lambda rng: None),
    "bytes for a text": _cell([*_TEXTS[:5], *_JSON], lambda rng: rng.randbytes(9)),
    "bit of a key": _flipped_cell("runs", ["key", "variant_key", "data_key"]),
    "bit of telemetry": _flipped_cell("batches", ["telemetry"]),
    "telemetry cut": _cut_cell("batches", ["telemetry"]),
    "notes of a batch": _cut_cell("batches", ["notes"]),
    "bit of an environment": _flipped_cell("environments", ["content"]),
    "environment cut": _cut_cell("environments", ["content"]),
    "environment gone": _rows("DELETE FROM environments WHERE id % 2 = {run} % 2"),
    "bit of a stage": _flipped_cell("stages", ["payload"]),
    "stage cut": _cut_cell("stages", ["payload"]),
    "stage gone": _rows("DELETE FROM stages WHERE rowid % 5 = {run} % 5"),
    "bit of a study": _flipped_cell("studies", ["spec", "name"]),
    "study cut": _cut_cell("studies", ["spec"]),
    "verdict of an image": _rows(
        "UPDATE samples SET broken = 1 - broken WHERE run_id = {run} AND place = {place}"
    ),
    "distance of an image": _rows(
        "UPDATE samples SET l2 = l2 + 0.25, linf = 0.5 WHERE run_id = {run} AND place = {place}"
    ),
    "text for a verdict": _rows(
        "UPDATE samples SET broken_at_step = 'x' WHERE run_id = {run} AND place = {place}"
    ),
    "verdicts gone": _rows("DELETE FROM samples WHERE run_id = {run} AND place >= {place}"),
    "batch gone": _rows("DELETE FROM batches WHERE run_id = {run}"),
    "run gone": _rows("DELETE FROM runs WHERE id = {run}"),
    "membership gone": _rows("DELETE FROM studies"),
    "transfer of a run gone": _rows("DELETE FROM transfers WHERE source_run = {run}"),
    "counts of a transfer": _rows("UPDATE transfers SET fooled = n + 1 WHERE source_run = {run}"),
    "bits of a transfer": _rows("UPDATE transfers SET wrong = x'ff' WHERE source_run = {run}"),
    "checksum gone": _rows("DELETE FROM files WHERE path LIKE 'runs/{run}/%'"),
    "checksum changed": _rows("UPDATE files SET sha256 = 'ab' WHERE path LIKE 'runs/{run}/%'"),
    "checksums gone": _rows("DROP TABLE files"),
    "identity gone": _rows("DELETE FROM identity"),
    "identity of another": _rows("UPDATE identity SET id = 'another{run}'"),
    "a newer version": _newer,
    "bit of examples": _file(_batch, flip),
    "examples truncated": _file(_batch, truncate),
    "examples emptied": _file(_batch, _empty),
    "examples removed": _file(_batch, _remove),
    "examples a folder": _file(_batch, _folder),
    "examples mangled": _file(_batch, _mangle),
    "examples swapped between runs": _swap,
    "bit of images": _file(_images, flip),
    "images truncated": _file(_images, truncate),
    "images removed": _file(_images, _remove),
    "folder of a run removed": _no_folder("runs/{run}"),
    "folder of all runs removed": _no_folder("runs"),
    "folder removed": _no_folder("."),
    "folder a file": _file_for_folder,
    "owner mark of another": _other_artifacts,
    "owner mark broken": _broken_mark,
}
