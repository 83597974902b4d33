"""``crumple check``: each kind of damage is told, and mended where nothing has to be made up."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.cli.main import main
from engine.store import Store, Writer
from engine.store.artifacts import folder_of
from tests.helpers.filled_store import fill
from tests.helpers.kept_database import restore


def crumple(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def batch(path: Path, run: int = 2) -> Path:
    return folder_of(path) / "runs" / str(run) / "batch-0000000.safetensors"


def stray(path: Path) -> None:
    batch(path).with_name("batch-0000099.safetensors.partial").write_bytes(b"half")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "run gone": (
        lambda path: sql(path, "PRAGMA foreign_keys = OFF", "DELETE FROM runs WHERE id = 2"),
        "rows of samples belong to rows of runs that are not there",
    ),
    "transfer of nothing": (
        lambda path: sql(
            path, "INSERT INTO transfers (source_run, target_run, key) VALUES (1, 99, 'k')"
        ),
        "1 of the rows of transfers belong to rows of runs",
    ),
    "image missing": (lambda path: batch(path).unlink(), "Run 2 lost images"),
    "image changed": (lambda path: batch(path).write_bytes(b"?"), "Run 2 lost images"),
    "clean images missing": (
        lambda path: (folder_of(path) / "images" / "data.safetensors").unlink(),
        "Run 6 lost images",
    ),
    "other attack": (
        lambda path: sql(path, "UPDATE runs SET attack = 'pgd 0.9', eps = 0.9 WHERE id = 3"),
        "Run 3 is listed with another attack and eps",
    ),
    "other number": (
        lambda path: sql(path, "UPDATE runs SET robust_accuracy = 0.99 WHERE id = 4"),
        "Run 4 says 99.00% of 20 images, and the verdicts on 20 images say 60.00%",
    ),
    "bytes for a number": (
        lambda path: sql(path, "UPDATE runs SET robust_accuracy = x'00ff' WHERE id = 4"),
        "Run 4 says nothing of 20 images",
    ),
    "text for a count": (
        lambda path: sql(path, "UPDATE runs SET n = 'x' WHERE id = 4"),
        "Run 4 says 60.00% of x images",
    ),
    "verdicts missing": (
        lambda path: sql(path, "DELETE FROM samples WHERE run_id = 5 AND place > 12"),
        "Run 5 says",
    ),
    "stray file": (stray, "Nothing points at the file"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "lab.db"
    fill(path)
    return path


def test_nothing_is_wrong_with_a_whole_database(path: Path) -> None:
    done = crumple("check", "--db", path)
    assert (done.exit_code, done.stdout) == (0, f"Nothing is wrong with the 6 runs in {path}.\n")


def test_nothing_is_wrong_with_a_database_of_an_earlier_version(tmp_path: Path) -> None:
    done = crumple("check", "--db", restore(tmp_path))
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_told_and_only_mended_when_asked_to(kind: str, path: Path) -> None:
    damage, words = DAMAGE[kind]
    damage(path)
    before = dump(path)
    told = crumple("check", "--db", path)
    assert told.exit_code == 1
    assert words in told.stdout
    assert "--repair" in told.stderr
    assert dump(path) == before
    mended = crumple("check", "--db", path, "--repair")
    assert mended.exit_code == 0, mended.output
    (copy,) = path.parent.glob("lab.db.before-*")
    assert dump(copy) == before
    assert crumple("check", "--db", path).exit_code == 0
    with Store(path, readonly=True) as store:
        for row in store.results():
            if row["status"] == "finished":
                broken = sum(one["broken"] for one in store.samples(row["run_id"]))
                assert row["robust_accuracy"] == pytest.approx(1 - broken / row["n"])
                store.images(row["run_id"])


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_what_is_taken_out_of_use_is_kept(path: Path) -> None:
    stray(path)
    batch(path, 3).write_bytes(b"damaged")
    assert crumple("check", "--db", path, "--repair").exit_code == 0
    kept = [one.read_bytes() for one in (folder_of(path) / "removed").rglob("*") if one.is_file()]
    assert sorted(kept) == sorted([b"half", b"damaged"])


def test_a_description_that_cannot_be_read_is_told_and_left(path: Path) -> None:
    sql(path, "UPDATE runs SET spec = '{}' WHERE id = 1")
    done = crumple("check", "--db", path, "--repair")
    assert done.exit_code == 1
    assert "What run 1 does cannot be read any more." in done.stdout
    assert not list(path.parent.glob("lab.db.before-*"))


def test_a_damaged_page_is_told(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        root = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'batches'"
        ).fetchone()[0]
    content = bytearray(path.read_bytes())
    content[(root - 1) * size : (root - 1) * size + 100] = b"\xff" * 100
    path.write_bytes(content)
    done = crumple("check", "--db", path)
    assert done.exit_code != 0
    assert "damaged" in done.output
    assert "Traceback" not in done.output


def test_a_missing_database_is_refused(tmp_path: Path) -> None:
    done = crumple("check", "--db", tmp_path / "none.db")
    assert done.exit_code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("column", ["key", "data_key", "variant_key"])
def test_a_key_that_is_not_that_of_the_spec_is_told(column: str, tmp_path: Path) -> None:
    path = restore(tmp_path)
    Writer(path).close()
    sql(path, f"UPDATE runs SET {column} = 'ab' WHERE id = 1")
    done = crumple("check", "--db", path)
    assert done.exit_code == 1
    (line,) = [text for text in done.stdout.splitlines() if "not that of its spec" in text]
    names = {"key": "The key of run 1", "data_key": "key of the data", "variant_key": "the variant"}
    assert names[column] in line


def test_a_spec_that_is_not_that_of_the_key_is_told(tmp_path: Path) -> None:
    path = restore(tmp_path)
    Writer(path).close()
    sql(path, "UPDATE runs SET spec = json_set(spec, '$.seed', 99) WHERE id = 2")
    done = crumple("check", "--db", path)
    assert "The key of run 2 is not that of its spec." in done.stdout


def test_runs_of_an_earlier_version_are_counted_and_not_judged(tmp_path: Path) -> None:
    path = restore(tmp_path)
    Writer(path).close()
    with Writer(path) as store:
        environment = store.run(1)["environment"]
        environment["stages"]["attack"] -= 1
        store.end_run(1, "finished", environment=environment)
    sql(path, "UPDATE runs SET key = 'ab' WHERE id = 1")
    done = crumple("check", "--db", path)
    assert done.exit_code == 0, done.output
    assert "1 runs were made by an earlier version of Crumple" in done.stderr
