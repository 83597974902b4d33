"""``crumple check``: each kind of damage is told, and mended where nothing has to be made up."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from engine.cli.main import main
from engine.errors import StoreError
from engine.pipeline.transfer_stage import TransferStage
from engine.pipeline.variants import Variants
from engine.store import Store, Writer, missing
from engine.store.artifacts import folder_of
from engine.store.checkup import check, repair
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


@pytest.fixture
def computed(tmp_path: Path) -> Path:
    """Sixteen runs that were computed, of four variants, and their transfers."""
    path = restore(tmp_path)
    Writer(path).close()
    return path


def told(path: Path) -> list[str]:
    with Store(path, readonly=True) as store:
        return [fault.text for fault in check(store)]


def mend(path: Path) -> None:
    with Writer(path) as store:
        repair(store)


@pytest.mark.parametrize(
    ("kind", "what", "read"),
    [("variant", "accounting", Store.variant), ("diagnostics", "gate", Store.checks)],
)
def test_a_stage_that_is_gone_is_told_and_comes_back_with_one_run(
    kind: str, what: str, read: Callable[[Store, int], object], computed: Path
) -> None:
    gone = f"(SELECT key FROM stages WHERE kind = '{kind}' ORDER BY rowid LIMIT 1 OFFSET 1)"
    sql(computed, f"DELETE FROM stages WHERE key = {gone}")
    with Store(computed, readonly=True) as store:
        for run_id in (5, 8):
            with pytest.raises(StoreError, match=f"The {what} of run {run_id} is missing"):
                read(store, run_id)
        assert read(store, 1)
    (text,) = told(computed)
    assert text.startswith(f"The {what} of run 5 and of 3 more of its variant is missing")
    mend(computed)
    assert told(computed) == []
    with Store(computed, readonly=True) as store:
        assert store.ids("waiting") == [5]
        assert store.variant(5) == {} or kind == "diagnostics"
        assert store.count("finished") == 15


def test_a_variant_is_not_judged_without_the_gate_that_it_passed(computed: Path) -> None:
    sql(computed, "DELETE FROM stages WHERE kind = 'diagnostics'")
    sql(computed, "UPDATE transfers SET status = 'waiting' WHERE target_run = 5 AND source_run = 1")
    with Writer(computed) as store:
        variants = Variants(store, torch.device("cpu"))
        TransferStage(store, lambda _: None, variants).run(1, lambda: False)
        pairs = {(row["source_run"], row["target_run"]): row for row in store.transfers()}
    assert pairs[1, 5]["status"] == "failed"
    assert "The gate of run 5 is missing" in str(pairs[1, 5]["message"])


def test_pairs_that_are_gone_are_told_and_wait_again(computed: Path) -> None:
    sql(computed, "DELETE FROM transfers WHERE source_run = 6 AND target_run != 14")
    assert told(computed) == [
        "The examples of run 6 are to be judged on run 2, 6, 10, and no row says so."
    ]
    mend(computed)
    assert told(computed) == []
    with Writer(computed) as store:
        waiting = store.transfer_queue.waiting(1)
        assert {pair[:2] for pair in waiting} == {(6, 2), (6, 6), (6, 10)}
        sql(computed, "DELETE FROM transfers WHERE status = 'waiting'")
        TransferStage(store, lambda _: None, Variants(store, torch.device("cpu"))).plan(1)
        assert store.transfer_queue.waiting(1) == waiting


@pytest.mark.parametrize(
    ("gone", "told_of"),
    [
        ("6 IN (source_run, target_run)", {2: "6", 6: "2, 6, 10, 14", 10: "6", 14: "6"}),
        (
            "source_run % 4 = 2 AND source_run != target_run",
            {2: "6, 10, 14", 6: "2, 10, 14", 10: "2, 6, 14", 14: "2, 6, 10"},
        ),
        ("source_run % 4 = 2", dict.fromkeys((2, 6, 10, 14), "2, 6, 10, 14")),
    ],
)
def test_pairs_are_missed_where_none_of_a_run_or_of_its_group_is_left(
    gone: str, told_of: dict[int, str], computed: Path
) -> None:
    sql(computed, f"DELETE FROM transfers WHERE {gone}")
    assert told(computed) == [
        f"The examples of run {source} are to be judged on run {targets}, and no row says so."
        for source, targets in told_of.items()
    ]
    mend(computed)
    assert told(computed) == []


def test_a_database_of_before_there_were_pairs_misses_none(computed: Path) -> None:
    sql(computed, "DROP TABLE transfers")
    with Store(computed, readonly=True) as store:
        assert list(missing.pairs(store.db)) == []


def test_figures_of_a_variant_of_before_are_not_missed(computed: Path) -> None:
    with Writer(computed) as store:
        for run_id in (5, 6, 7, 8):
            environment = store.run(run_id)["environment"]
            del environment["stages"]["variant"]
            store.end_run(run_id, "finished", environment=environment)
        gone = store.run(5)["variant_key"]
        with store.db.atomic():
            store.db.execute("DELETE FROM stages WHERE key = ?", (gone,))
    assert told(computed) == []


def test_pairs_that_another_study_may_have_let_wait_tell_of_no_others(computed: Path) -> None:
    sql(
        computed,
        "INSERT INTO studies (name, key, spec, created) SELECT 'b', 'b', spec, '' FROM studies",
        "INSERT INTO study_runs SELECT 2, run_id, position FROM study_runs",
        "DELETE FROM transfers WHERE 6 IN (source_run, target_run)",
    )
    assert not [text for text in told(computed) if "are to be judged" in text]


def test_a_run_that_cannot_be_read_hides_no_pair_that_is_gone(computed: Path) -> None:
    sql(computed, "DELETE FROM transfers WHERE source_run = 6 AND target_run = 10")
    sql(computed, "UPDATE runs SET spec = '?' WHERE id = 5")
    assert any("of run 6 are to be judged on run 10" in text for text in told(computed))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM transfers",  # the transfer stage never ran
        "UPDATE runs SET finished = '9' WHERE id = 6; "  # later, in another study
        "DELETE FROM transfers WHERE source_run = 6 OR target_run = 6",
        "UPDATE runs SET status = 'waiting' WHERE id = 16; "  # the study is not done
        "DELETE FROM transfers WHERE source_run = 6",
        "INSERT INTO annotations (run_id, deleted) VALUES (6, 1); "
        "DELETE FROM transfers WHERE source_run = 6",
        "UPDATE runs SET environment_id = NULL, checks = '{}'; DELETE FROM stages",  # of before
        "UPDATE runs SET status = 'failed'; DELETE FROM stages",
        "DELETE FROM stages WHERE kind IN ('recipe', 'step', 'black-box')",  # needed by none
    ],
)
def test_what_was_never_there_is_not_missed(statement: str, computed: Path) -> None:
    sql(computed, *statement.split("; "))
    assert told(computed) == []
