"""A database of the version before opens, gives the same tables, and is changed whole or not."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from engine.store import Store, Writer
from engine.store.schema import migrations
from tests.benchmarks import large_store
from tests.helpers import fake_results, filled_store, kept_database
from tests.helpers.former_database import COMPACT, as_before
from tests.helpers.tables import hashed, tables

FILLED: dict[str, Callable[[Path], object]] = {
    "filled": filled_store.fill,
    "fake": fake_results.fill,
    "large": lambda path: large_store.fill(path, 60),
    "kept": lambda path: Writer(_kept(path)).close(),
}


def _kept(path: Path) -> Path:
    shutil.move(kept_database.restore(path.parent), path)
    shutil.move(path.parent / "kept.artifacts", path.parent / f"{path.name}.artifacts")
    return path


def is_former(path: Path) -> bool:
    with Store(path, readonly=True) as store:
        return COMPACT in {one.name for one in migrations.pending(store.db)}


@pytest.mark.parametrize("kind", FILLED)
def test_a_database_of_before_gives_the_same_tables_read_and_migrated(
    kind: str, tmp_path: Path
) -> None:
    current = tmp_path / "lab.db"
    FILLED[kind](current)
    (tmp_path / "former").mkdir()
    former = as_before(current, tmp_path / "former" / "lab.db")
    expected = tables(current)
    assert is_former(former)
    assert tables(former) == expected, "only read"
    assert is_former(former), "reading changes nothing"
    Writer(former).close()
    assert not is_former(former)
    assert tables(former) == expected, "migrated"
    with closing(sqlite3.connect(former)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_change_of_any_table_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    filled_store.fill(path)
    before = hashed(path)
    assert hashed(path) == before
    for change in (
        "UPDATE samples SET broken_at_step = 3 WHERE run_id = 1 AND place = 0",
        "UPDATE runs SET seconds = 2.5 WHERE id = 1",
        "UPDATE annotations SET tags = 'x'",
    ):
        with Writer(path) as store, store.db.atomic():
            store.db.execute("INSERT OR IGNORE INTO annotations (run_id) VALUES (1)")
            store.db.execute(change)
        assert hashed(path) != before
        before = hashed(path)
    with Writer(path) as store:
        store.end_run(1, "finished", environment={"a": 1})
    assert hashed(path) != before


KILLED = """
import os, sys
from pathlib import Path
from engine.store import Writer, schema
calls, pack = 0, schema.repacked
def repacked(former):
    global calls
    calls += 1
    return os._exit(9) if calls == 40 else pack(former)
schema.repacked = repacked
Writer(Path(sys.argv[1]))
"""


def test_a_process_that_dies_in_the_migration_leaves_the_database_of_before(
    tmp_path: Path,
) -> None:
    large_store.fill(tmp_path / "lab.db", 60)
    former = as_before(tmp_path / "lab.db", tmp_path / "former.db")
    expected = tables(former)
    dead = subprocess.run([sys.executable, "-c", KILLED, str(former)], env=os.environ, check=False)
    assert dead.returncode == 9
    assert is_former(former)
    assert tables(former) == expected
    Writer(former).close()
    assert tables(former) == expected


def test_damaged_cells_do_not_stop_a_migration(tmp_path: Path) -> None:
    filled_store.fill(tmp_path / "lab.db")
    former = as_before(tmp_path / "lab.db", tmp_path / "former.db")
    with closing(sqlite3.connect(former, isolation_level=None)) as connection:
        connection.execute("UPDATE batches SET telemetry = '[{' WHERE run_id = 1")
        connection.execute(
            "UPDATE batches SET telemetry = CAST(x'ff5b5d' AS TEXT) WHERE run_id = 2"
        )
        connection.execute(
            "UPDATE runs SET environment = CAST(x'ff7b' AS TEXT), spec = '{' WHERE id = 3"
        )
    with Writer(former) as store:
        assert len(store.results()) == 6
        assert store.curve(4)
        assert store.run(4)["environment"] == {}


def test_a_file_of_before_gets_smaller(tmp_path: Path) -> None:
    large_store.fill(tmp_path / "lab.db", 300)
    former = as_before(tmp_path / "lab.db", tmp_path / "former.db")
    before = former.stat().st_size
    Writer(former).close()
    assert former.stat().st_size * 3 < before
    with closing(sqlite3.connect(former)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_that_somebody_reads_is_migrated_and_stays_its_size(tmp_path: Path) -> None:
    large_store.fill(tmp_path / "lab.db", 60)
    former = as_before(tmp_path / "lab.db", tmp_path / "former.db")
    with Store(former, readonly=True) as reader:
        rows = iter(reader.db.tuples("SELECT id FROM runs"))
        next(rows)
        with Writer(former) as store:
            store.tag({1: "x"})
            assert store.result(1)["tags"] == "x"
        list(rows)
    assert not is_former(former)


def test_a_run_without_samples_takes_three_kilobytes(tmp_path: Path) -> None:
    sizes = {}
    for runs in (500, 1500):
        path = tmp_path / f"{runs}.db"
        large_store.fill(path, runs)
        sizes[runs] = path.stat().st_size
    assert (sizes[1500] - sizes[500]) / 1000 <= 3000


def test_an_environment_is_stored_once(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    results = fake_results.fill(path)
    with Store(path, readonly=True) as store:
        assert store.db.execute("SELECT count(*) FROM environments").fetchone() == (1,)
        assert store.run(results.flagged)["environment"]["device"] == "cpu"
        assert store.run(results.waiting)["environment"] == {}
