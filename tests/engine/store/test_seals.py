"""What changed on the disk is no other number: it is told, and mended by computing anew."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.errors import StoreError
from engine.store import Store, Writer
from engine.store.checkup import damaged_runs
from engine.store.schema import migrations
from engine.store.seals import RUN, seal, seal_batch
from tests.helpers.filled_store import fill


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "lab.db"
    fill(path)
    with Writer(path) as store:
        store.put_stage("variant1", "variant", {"flags": [], "accounting": {"macs": 7}}, 1.5)
        store.transfer_queue.plan([(1, 2, "k")])
        (pair,) = store.transfer_queue.waiting(1)
        counts = {"kept": 3, "broken": 1, "n": 3, "fooled": 1, "seconds": 0.5, "wrong": b"\x80"}
        store.transfer_queue.finish(pair, counts)
    return path


def on_the_disk(path: Path, statement: str) -> None:
    """Change a row as a bit that flips does: no trigger notices."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in names.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)


@pytest.mark.parametrize("column", ["robust_accuracy", "n", "attack", "flags", "verdict"])
def test_a_run_that_is_not_what_was_written_is_told_and_gives_no_number(
    path: Path, column: str
) -> None:
    with Store(path, readonly=True) as store:
        whole = {row["run_id"]: row for row in store.results()}
    on_the_disk(path, f"UPDATE runs SET {column} = coalesce({column}, 0) || '7' WHERE id = 2")
    with Store(path, readonly=True) as store:
        rows = {row["run_id"]: row for row in store.results()}
        assert [flag["id"] for flag in rows[2]["flags"]] == ["damaged"]
        assert {rows[2][name] for name in ("robust_accuracy", "n", "size_bytes", "eps")} == {None}
        assert {number: row for number, row in rows.items() if number != 2} == {
            number: row for number, row in whole.items() if number != 2
        }
        with pytest.raises(StoreError, match="results of run 2 are not what was written"):
            store.run(2)
        (pair,) = store.transfers()
        assert pair["accuracy"] is None
        assert pair["message"] is not None
        assert "not what was written" in pair["message"]
        assert store.queue()[1]["message"] == rows[2]["flags"][0]["text"]
    told = CliRunner().invoke(main, ["check", "--db", str(path)])
    assert told.exit_code == 1
    assert "What is stored of run 2 is not what was written." in told.stdout


def test_every_column_of_a_result_counts(path: Path) -> None:
    on_the_disk(path, "SELECT 1")
    with Writer(path) as store:
        assert damaged_runs(store.db) == []
        for column in RUN:
            if column in ("status", "environment_id"):  # constraints
                continue
            (before,) = store.db.execute(f"SELECT {column} FROM runs WHERE id = 2").fetchone()
            for value, damaged in ((f"7{before}", [2]), (before, [])):
                with store.db.atomic():
                    store.db.execute(f"UPDATE runs SET {column} = ? WHERE id = 2", (value,))
                assert damaged_runs(store.db) == damaged, column


def test_a_change_by_a_person_or_a_program_is_no_damage(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE runs SET robust_accuracy = 0.25 WHERE id = 2")
        connection.execute("UPDATE samples SET l2 = 7 WHERE run_id = 2")
        connection.execute("UPDATE stages SET payload = '{\"flags\": []}'")
        connection.execute("UPDATE transfers SET broken = 2")
    with Store(path, readonly=True) as store:
        assert store.result(2)["robust_accuracy"] == 0.25
        assert store.samples(2)[0]["l2"] == 7
        assert store.stage("variant1") == {"flags": []}
        assert store.transfers()[0]["broken"] == 2


def test_everything_that_is_finished_has_a_seal(path: Path) -> None:
    with Writer(path) as store:
        store.add_flag(1, {"id": "x", "level": "info", "text": "More."})
        store.set_deleted([3])
        store.tag({4: "x"})
        for table in ("runs", "batches", "stages", "transfers"):
            without = store.db.execute(f"SELECT count(*) FROM {table} WHERE seal IS NULL")
            assert without.fetchone() == (0,), table


@pytest.mark.parametrize("column", ["broken", "l2", "label", "adversarial_prediction"])
def test_a_verdict_that_is_not_what_was_written_is_told(path: Path, column: str) -> None:
    on_the_disk(path, f"UPDATE samples SET {column} = {column} + 1 WHERE run_id = 2 AND place = 9")
    with Store(path, readonly=True) as store:
        for read in (store.samples, store.curve, store.images):
            with pytest.raises(StoreError, match="verdicts of run 2, batch from image 0, are not"):
                read(2)
            read(3)
    mended = CliRunner().invoke(main, ["check", "--db", str(path), "--repair"])
    assert mended.exit_code == 0, mended.output
    with Store(path, readonly=True) as store:
        row = store.result(2)
        assert (row["status"], row["robust_accuracy"], row["n"]) == ("waiting", None, None)
        assert store.samples(2) == []


def test_who_settled_an_image_is_sealed(path: Path) -> None:
    with Writer(path) as store, store.db.atomic():
        store.db.execute("UPDATE samples SET settled_by = 'fgsm' WHERE run_id = 2 AND place < 9")
        seal_batch(store.db, 2, 0)
    with Store(path, readonly=True) as store:
        assert {row["settled_by"] for row in store.samples(2)} == {"", "fgsm"}
    for place, by in ((3, ""), (3, "pgd"), (9, "fgsm")):
        with closing(sqlite3.connect(path)) as connection:
            (before,) = connection.execute(
                "SELECT settled_by FROM samples WHERE run_id = 2 AND place = ?", (place,)
            ).fetchone()
        change = "UPDATE samples SET settled_by = '{}' WHERE run_id = 2 AND place = {}"
        on_the_disk(path, change.format(by, place))
        with (
            Store(path, readonly=True) as store,
            pytest.raises(StoreError, match="verdicts of run 2"),
        ):
            store.samples(2)
        on_the_disk(path, change.format(before, place))
    with Store(path, readonly=True) as store:
        assert len(store.samples(2)) > 9


def test_seals_of_before_there_were_settlers_fit_read_and_migrated(path: Path) -> None:
    with Store(path, readonly=True) as store:
        expected = store.samples(2)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("ALTER TABLE samples DROP COLUMN settled_by")
        connection.execute(
            f"DELETE FROM {migrations.migrations_table} WHERE name = '0012_settlers'"
        )
    with Store(path, readonly=True) as store:
        assert [one.name for one in migrations.pending(store.db)] == ["0012_settlers"]
        assert store.samples(2) == expected
        assert store.who_broke(2) is not None
    with Writer(path) as store:
        assert store.samples(2) == expected
        sealed = store.db.execute("SELECT count(*) FROM batches WHERE seal NOT NULL").fetchone()
        assert sealed > (0,)


def test_a_stage_and_a_transfer_that_are_not_what_was_written_are_told(path: Path) -> None:
    on_the_disk(path, "UPDATE stages SET payload = replace(payload, '7', '9')")
    on_the_disk(path, "UPDATE transfers SET fooled = 2")
    with Store(path, readonly=True) as store:
        with pytest.raises(StoreError, match="stage variant variant1 are not what was written"):
            store.stage("variant1")
        assert store.transfers()[0]["transfer_rate"] is None
    assert CliRunner().invoke(main, ["check", "--db", str(path), "--repair"]).exit_code == 0
    with Store(path, readonly=True) as store:
        assert store.stage("variant1") is None
        assert store.transfers()[0]["status"] == "waiting"


def test_an_environment_that_is_not_what_was_written_is_told(path: Path) -> None:
    with Writer(path) as store:
        store.end_run(2, "finished", environment={"platform": "here"})
    on_the_disk(path, "UPDATE environments SET content = replace(content, 'here', 'there')")
    with Store(path, readonly=True) as store:
        assert [row["platform"] for row in store.paces()] == [] or None in {
            row["platform"] for row in store.paces()
        }
        with pytest.raises(StoreError, match="environment of run 2 are not what was written"):
            store.run(2)
        assert store.result(3)["robust_accuracy"] is not None
    assert CliRunner().invoke(main, ["check", "--db", str(path), "--repair"]).exit_code == 0
    with Store(path, readonly=True) as store:
        assert store.run(2)["environment"] == {}


def test_a_seal_tells_values_and_kinds_apart() -> None:
    values = (1, 1.0, "1", b"1", None, "", 0, (1,), "a", "b")
    assert len({seal(value) for value in values}) == len(values)
    assert seal("ab", "c") != seal("a", "bc")
    # Stored in databases of people: it has to stay.
    assert seal(1, 0.5, "text ☃", None, b"x", 2**40) == 2278076497
