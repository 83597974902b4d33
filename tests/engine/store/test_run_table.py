"""The table of all runs: whatever is written, it ends as if it had been read anew."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.specs.study import Study
from engine.store import RunKeys, Store, Writer
from engine.store.columns import MORE_COLUMNS, QUEUE_COLUMNS, RESULT_COLUMNS
from engine.store.run_changes import RunChanges, StudyMembers, as_changes, read_changes
from engine.store.run_table import RunTable
from engine.store.text_column import DAMAGED
from tests.helpers.fake_results import FakeResults, fill

_COLUMNS = (*RESULT_COLUMNS, *MORE_COLUMNS, "recipe")


@pytest.fixture
def results(tmp_path: Path) -> FakeResults:
    return fill(tmp_path / "results.db")


def _bring_up(table: RunTable, store: Store) -> list[RunChanges]:
    parts = list(read_changes(store.db, table.version))
    for part in parts:
        table.apply(part)
    return parts


def _whole(store: Store) -> RunTable:
    table = RunTable()
    _bring_up(table, store)
    return table


def _agrees(table: RunTable, store: Store) -> None:
    """The table says what the store says of every run, and of every study."""
    rows = table.rows(np.flatnonzero(table.shown()))
    assert [{name: row[name] for name in _COLUMNS} for row in rows] == store.results()
    queue = sorted(rows, key=lambda row: row["position"])
    assert [{name: row[name] for name in QUEUE_COLUMNS} for row in queue] == store.queue()
    for name in ("created", "finished"):
        moments = table.moments(name)[table.shown()]
        times = [row[name] for row in rows]  # type: ignore[literal-required]
        assert np.isnan(moments).tolist() == [time is None for time in times]
        assert [times[at] for at in np.argsort(moments, kind="stable") if times[at]] == sorted(
            filter(None, times)
        )
    names = dict.fromkeys(row["name"] for row in store.studies())
    assert list(dict.fromkeys(study.name for study in table.studies())) == list(names)
    for name in names:
        ids = table.ids[table.members(name)].tolist()
        assert ids == [row["run_id"] for row in store.results(name)]


def _study(name: str, seed: int) -> Study:
    return Study.from_dict(
        {
            "name": name,
            "seed": seed,
            "dataset": {"name": "digits", "limit": 20},
            "model": [{"name": "digits-resnet"}],
            "compression": [{"name": "magnitude", "sparsity": 0.5}],
            "attack": [{"name": "fgsm", "eps": [0.1, 0.2]}, {"name": "fmn"}],
        }
    )


def _queue(store: Writer, name: str, seed: int) -> None:
    study = _study(name, seed)
    runs = [
        (
            run,
            RunKeys(
                f"{seed} {run.compression} {run.attack.label}",
                f"{seed} {run.compression}",
                str(seed),
            ),
        )
        for run in study.runs()
    ]
    store.add_study(study, runs)


def _writes(store: Writer, dice: random.Random) -> list[Callable[[], object]]:
    """One of each kind of write, to random runs."""
    ids = [row["id"] for row in store.db.query("SELECT id FROM runs")]
    some = dice.sample(ids, dice.randint(1, len(ids)))
    return [
        lambda: store.tag(dict.fromkeys(some, f"tag {dice.random()}")),
        lambda: store.annotate(some[0], note=f"note {dice.random()}"),
        lambda: store.set_deleted(some),
        lambda: store.set_deleted(ids, deleted=False),
        lambda: store.set_status(some, "cancelled", ("waiting", "failed")),
        lambda: store.set_status(some, "waiting", ("cancelled",)),
        lambda: store.move(some, to_front=dice.random() < 0.5),
        lambda: store.start_run(some[0], 20),
        lambda: store.end_run(some[0], "failed", message="no", hint="why", reason="n"),
        lambda: store.end_run(some[0], "finished", n=20, robust_accuracy=dice.random()),
        lambda: store.recover(),
        lambda: _queue(store, f"study {dice.randint(0, 2)}", dice.randint(0, 3)),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_written_the_table_follows(results: FakeResults, seed: int) -> None:
    dice = random.Random(seed)
    with Writer(results.path) as writer, Store(results.path, readonly=True) as reader:
        table = _whole(reader)
        _agrees(table, reader)
        for _ in range(12):
            for _ in range(dice.randint(1, 3)):
                writes = _writes(writer, dice)
                if writes:
                    dice.choice(writes)()
            _bring_up(table, reader)
            _agrees(table, reader)


def test_only_what_changed_is_read(results: FakeResults) -> None:
    with Writer(results.path) as writer:
        table = _whole(writer)
        assert _bring_up(table, writer) == []
        writer.annotate(3, note="look")
        writer.tag({5: "a", 3: "b"})
        (part,) = _bring_up(table, writer)
        assert part.run_ids.tolist() == [3, 5]
        row = table.run(3)
        assert row is not None
        assert (row["note"], row["tags"]) == ("look", "b")


def test_a_number_is_never_given_twice(results: FakeResults) -> None:
    """The last change may be replaced by a newer one of the same run; who saw it must notice."""
    with Writer(results.path) as writer:
        table = _whole(writer)
        for text in "abc":
            writer.annotate(2, note=text)
            assert [part.run_ids.tolist() for part in _bring_up(table, writer)] == [[2]]


def test_a_started_again_study_is_the_newest_of_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(f"2026-01-01T00:00:{second:02}.000+00:00" for second in range(60))
    monkeypatch.setattr("engine.store.writer.now", lambda: next(moments))
    with Writer(tmp_path / "r.db") as writer:
        _queue(writer, "first", 1)
        first = [run["study"] for run in writer.queue()]
        study = _study("second", 1)
        runs = [
            (run, RunKeys(f"1 {run.compression} {run.attack.label}", f"1 {run.compression}", "1"))
            for run in study.runs()
        ]
        writer.add_study(study, runs)
        table = _whole(writer)
        assert set(first) == {"first"}
        assert {row["study"] for row in table.rows(range(len(table.ids)))} == {"second"}
        _queue(writer, "first", 1)
        _bring_up(table, writer)
        assert {row["study"] for row in table.rows(range(len(table.ids)))} == {"first"}
        _agrees(table, writer)


def test_many_runs_come_in_chunks_of_one_moment_the_newest_first(
    results: FakeResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.store.run_changes.CHUNK", 7)
    with Writer(results.path) as writer, Store(results.path, readonly=True) as reader:
        table = RunTable()
        shown: list[list[int]] = []
        for number, part in enumerate(read_changes(reader.db, None), 1):
            assert table.version is None
            writer.annotate(number, note="meanwhile")
            table.apply(part)
            shown.append(table.ids[table.shown()].tolist())
            assert table.ids.tolist() == list(range(1, 21)), "each run has its place at once"
        assert shown == [[], *(list(range(at, 21)) for at in (14, 7, 1, 1))]
        row = table.run(1)
        assert row is not None
        assert row["note"] == ""  # what came meanwhile comes with the next question
        assert [part.run_ids.tolist() for part in _bring_up(table, reader)] == [[1, 2, 3, 4, 5]]
        _agrees(table, reader)


def test_an_empty_database_is_a_table_without_runs(tmp_path: Path) -> None:
    with Writer(tmp_path / "r.db") as writer:
        table = _whole(writer)
        assert (len(table), table.version, table.studies()) == (0, 0, [])
        assert table.run(1) is None
        assert table.members("none").tolist() == []
        _queue(writer, "first", 1)
        _bring_up(table, writer)
        assert len(table) == 6


def test_columns_are_what_the_rows_say(results: FakeResults) -> None:
    with Store(results.path) as store:
        table = _whole(store)
        rows = table.rows(range(len(table.ids)))

        def column(name: str) -> list[Any]:
            return [row[name] for row in rows]  # type: ignore[literal-required]

        for name in ("run_id", "robust_accuracy", "n", "seed"):
            stored = [None if number != number else number for number in table.numbers(name)]
            assert stored == column(name)
        for test in (lambda row: "fgsm" in row["attack"], lambda row: bool(row["flags"])):
            for columns in (("attack", "flags"), ("flags", "seed", "attack", "steps")):
                assert table.where(columns, test).tolist() == [test(row) for row in rows]
        moments = table.moments("finished")
        order = np.argsort(moments[~np.isnan(moments)], kind="stable")
        times = [time for time in column("finished") if time]
        assert [times[place] for place in order] == sorted(times)
        assert np.isnan(moments).tolist() == [time is None for time in column("finished")]
        ranks = table.ranks("compression", str.casefold)
        assert sorted(column("compression"), key=str.casefold) == [
            rows[place]["compression"] for place in np.argsort(ranks, kind="stable")
        ]
        first = table.distinct("compression", np.arange(len(rows)))
        assert sorted(rows[place]["compression"] for place in first) == sorted(
            set(column("compression"))
        )
        some = np.array([0, len(rows) - 1])
        for name in ("compression", "model", "attack"):
            wanted = {rows[place][name] for place in some}
            assert table.alike(name, some).tolist() == [value in wanted for value in column(name)]


@pytest.mark.parametrize("most", [1, 10**6])
def test_a_test_is_asked_once_for_each_combination(
    results: FakeResults, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("engine.store.run_table._MOST_CODES", most)
    with Store(results.path) as store:
        table = _whole(store)
    asked: list[tuple[str, int]] = []

    def test(row: Mapping[str, Any]) -> bool:
        asked.append((row["attack_id"], row["steps"]))
        return bool(row["steps"])

    mask = table.where(("attack_id", "steps"), test)
    assert len(asked) == len(set(asked)) == 2
    rows = table.rows(range(len(table.ids)))
    assert mask.tolist() == [bool(row["steps"]) for row in rows]


def test_a_test_is_asked_of_the_values_that_runs_have_now(results: FakeResults) -> None:
    with Writer(results.path) as writer:
        table = _whole(writer)

        def asked() -> set[str]:
            values: set[str] = set()
            table.where(("status",), lambda row: bool(values.add(row["status"])))
            return values

        assert asked() == {"finished", "failed", "waiting"}
        writer.set_status([results.failed], "cancelled", ["failed"])
        _bring_up(table, writer)
        assert asked() == {"finished", "cancelled", "waiting"}
        held = table.where(("status",), lambda row: row["status"] == "cancelled")
        assert table.ids[held].tolist() == [results.failed]


def test_a_study_alone_names_its_runs_anew(results: FakeResults) -> None:
    with Store(results.path) as store:
        table = _whole(store)
    (study,) = table.studies()
    before, stamp = table.row(0)["study"], table.stamp
    newer = StudyMembers(study.id + 1, "newer", f"{study.created}1", study.run_ids[:1])
    table.apply(as_changes([], None, studies=[newer]))
    assert (table.row(0)["study"], table.row(1)["study"]) == ("newer", before)
    assert np.flatnonzero(table.stamps > stamp).tolist() == [0]


def test_a_text_longer_than_those_before_is_kept_whole(results: FakeResults) -> None:
    with Writer(results.path) as writer:
        table = _whole(writer)
        long = "2026-11-30T10:00:00.123456789+00:00 and more"
        with writer.db.atomic():
            writer.db.execute("UPDATE runs SET finished = ? WHERE id = 4", (long,))
        _bring_up(table, writer)
        row = table.run(4)
        assert row is not None
        assert row["finished"] == long


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("flags", "[{"),
        ("flags", '[{"id": 3}]'),
        ("flags", "{}"),
        ("verdict", "{"),
        ("verdict", '{"survivors": "many"}'),
        ("verdict", '{"flags": [1]}'),
        ("recipe", "nonsense"),
    ],
)
def test_a_damaged_cell_is_told_and_hides_no_other_run(
    results: FakeResults, column: str, text: str
) -> None:
    with Writer(results.path) as writer:
        before = _whole(writer)
        with writer.db.atomic():
            writer.db.execute(f"UPDATE runs SET {column} = ? WHERE id = 4", (text,))
        table = _whole(writer)
    for place in range(len(table.ids)):
        row, was = table.row(place), before.row(place)
        if row["run_id"] != 4:
            assert row == was
        elif column == "recipe":
            assert row["recipe"] is None
        else:
            assert row["flags"][0] == DAMAGED
            assert row["worst_case"] in (None, was["worst_case"])


@pytest.mark.parametrize("known", [False, True], ids=["read anew", "seen before"])
def test_a_number_that_changed_on_the_disk_is_shown_by_nobody(
    results: FakeResults, known: bool
) -> None:
    with Writer(results.path) as writer:
        table = _whole(writer) if known else RunTable()
        _change_on_the_disk(writer, "robust_accuracy", 0.999)
        _bring_up(table, writer)
    _only_the_fourth_is_damaged(table)


@pytest.mark.parametrize(
    ("column", "value"),
    [("finished", b"\xff"), ("n", "many"), ("size_bytes", 0.5), ("dataset", b"digits")],
)
def test_a_cell_that_became_of_another_kind_on_the_disk_hides_no_other_run(
    results: FakeResults, column: str, value: object
) -> None:
    with Writer(results.path) as writer:
        _change_on_the_disk(writer, column, value)
        table = _whole(writer)
    _only_the_fourth_is_damaged(table)


def test_no_chunk_shows_a_number_that_changed_on_the_disk(results: FakeResults) -> None:
    table = RunTable()
    with Writer(results.path) as writer:
        _change_on_the_disk(writer, "robust_accuracy", 0.999)
        for part in read_changes(writer.db, None):
            table.apply(part)
            assert 0.999 not in table.numbers("robust_accuracy")
    _only_the_fourth_is_damaged(table)


def _change_on_the_disk(writer: Writer, column: str, value: object) -> None:
    """Behind the back of SQL, so that the seal stays as it was."""
    (seal,) = writer.db.execute("SELECT seal FROM runs WHERE id = 4").fetchone()
    assert seal is not None
    with writer.db.atomic():
        writer.db.execute(f"UPDATE runs SET {column} = ? WHERE id = 4", (value,))
        writer.db.execute("UPDATE runs SET seal = ? WHERE id = 4", (seal,))


def _only_the_fourth_is_damaged(table: RunTable) -> None:
    row = table.run(4)
    assert row is not None
    assert (row["robust_accuracy"], row["ci_low"]) == (None, None)
    assert row["flags"][0] == DAMAGED
    others = [table.run(run_id) for run_id in (3, 5)]
    assert all(other is not None and DAMAGED not in other["flags"] for other in others)
