"""The store: queue, batches, sharing of runs, errors in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.errors import StoreError
from engine.specs.study import Study, content_key
from engine.store import RESULT_COLUMNS, Queued, RunKeys, Store, Writer
from tests.helpers.studies import small_study


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "lab.db") as writer:
        yield writer


def queue(store: Writer, study: Study) -> Queued:
    runs = [
        (run, RunKeys(content_key(run.model_dump()), content_key(run.recipe and "v"), "d"))
        for run in study.runs()
    ]
    return store.add_study(study, runs)


def sample(index: int, broken_at_step: int) -> dict[str, float]:
    return {
        "index": index,
        "label": 1,
        "clean_prediction": 1,
        "adversarial_prediction": 2,
        "clean_confidence": 0.9,
        "adversarial_confidence": 0.6,
        "broken": broken_at_step >= 0,
        "l2": 1.0,
        "linf": 0.1,
        "forwards": 3,
        "backwards": 2,
        "broken_at_step": broken_at_step,
    }


def batch(start: int, size: int) -> dict[str, object]:
    return {
        "start": start,
        "size": size,
        "seconds": 0.5,
        "notes": [],
        "telemetry": [{"step": 1, "active": size, "loss": 1.0, "margin": 0.5}],
    }


def test_runs_are_shared_between_studies_and_results_follow_the_study(store: Writer) -> None:
    first = queue(store, small_study())
    more = queue(
        store,
        small_study(
            name="more",
            attack=[{"name": "pgd", "eps": 0.15, "steps": 5}, {"name": "fgsm", "eps": 0.15}],
        ),
    )
    assert set(first.run_ids) < set(more.run_ids)
    assert [row["run_id"] for row in store.results("small")] == list(first.run_ids)
    assert len(store.results()) == 4
    with pytest.raises(StoreError, match=r"no study named 'less'.*'more'"):
        store.results("less")


def test_queueing_again_keeps_finished_runs_and_revives_the_others(store: Writer) -> None:
    done, failed = queue(store, small_study()).run_ids
    store.end_run(done, "finished")
    store.end_run(failed, "failed", message="no")
    again = queue(store, small_study())
    assert again.reused == store.count("waiting") == 1
    assert [row["status"] for row in store.results()] == ["finished", "waiting"]
    assert store.run(failed)["message"] is None


def test_the_newest_study_of_a_name_counts(store: Writer) -> None:
    queue(store, small_study())
    other = queue(store, small_study(compression=[]))
    assert [row["run_id"] for row in store.results("small")] == list(other.run_ids)


def test_a_run_that_kills_its_process_twice_fails(store: Writer) -> None:
    run_id = queue(store, small_study(compression=[])).run_ids[0]
    for expected in ("waiting", "failed"):
        store.start_run(run_id, 30)
        store.recover()
        assert store.run(run_id)["status"] == expected
    assert "died" in store.run(run_id)["message"]


def test_batches_make_samples_curve_and_images(store: Writer) -> None:
    run_id = queue(store, small_study(compression=[])).run_ids[0]
    clean = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    store.keep_images("d", {"images": clean})
    for start, steps in ((0, (0, -1)), (2, (1, 3))):
        kept = {"index": np.arange(start, start + 2), "adversarial": clean[start : start + 2]}
        rows = [sample(start + place, at) for place, at in enumerate(steps)]
        store.add_batch(run_id, batch(start, 2), rows, kept)
    assert [row["index"] for row in store.samples(run_id)] == [0, 1, 2, 3]
    curve = store.curve(run_id)
    shares = [(row["step"], row["robust_accuracy"]) for row in curve]
    assert shares == [(0, 0.75), (1, 0.5), (3, 0.25)]
    assert curve[1]["loss"] == pytest.approx((2 * 1.0 + 2 * 1.0) / 4)
    images = store.images(run_id)
    assert np.array_equal(images["clean"], clean)
    assert images["index"].tolist() == [0, 1, 2, 3]
    store.clear_batches(run_id)
    assert not store.samples(run_id)
    assert not len(store.images(run_id)["index"])


def test_results_have_every_promised_column(store: Writer) -> None:
    queue(store, small_study())
    assert set(RESULT_COLUMNS) <= set(store.results()[0])


def test_a_second_writer_is_refused_and_a_reader_is_not(store: Writer) -> None:
    with pytest.raises(StoreError, match="Another Crumple"):
        Writer(store.path)
    with Store(store.path) as reader:
        version = reader.data_version()
        queue(store, small_study())
        assert reader.data_version() != version
        assert len(reader.results()) == 2


@pytest.mark.parametrize("to_front", [True, False])
def test_runs_move_together_and_keep_their_order(store: Writer, to_front: bool) -> None:
    many = small_study(attack=[{"name": "fgsm", "eps": [0.1, 0.15, 0.2]}])
    ids = queue(store, many).run_ids
    chosen = [ids[4], ids[1], ids[3]]
    rest = [run_id for run_id in ids if run_id not in chosen]
    store.move(chosen, to_front)
    expected = [*chosen, *rest] if to_front else [*rest, *chosen]
    assert [row["run_id"] for row in store.queue()] == expected
    assert store.next_waiting() == expected[0]


def test_a_deleted_run_waits_for_nobody_until_it_is_brought_back(store: Writer) -> None:
    first, second = queue(store, small_study()).run_ids
    store.set_deleted([first])
    assert (store.next_waiting(), store.next_waiting([first])) == (second, None)
    assert store.count("waiting") == store.studies()[0]["waiting"] == 1
    store.set_deleted([first], deleted=False)
    assert store.next_waiting() == first
    assert store.count("waiting") == store.studies()[0]["waiting"] == 2


def test_runs_are_tagged_together_and_keep_their_notes(store: Writer) -> None:
    first, second = queue(store, small_study()).run_ids
    store.annotate(first, note="odd")
    store.tag({first: "a", second: "b"})
    rows = store.results()
    assert [(row["tags"], row["note"]) for row in rows] == [("a", "odd"), ("b", "")]


def test_deleting_hides_and_queueing_brings_back(store: Writer) -> None:
    ids = queue(store, small_study()).run_ids
    store.set_deleted(ids[:1])
    store.annotate(ids[0], tags="t2", note="odd")
    assert [row["run_id"] for row in store.results()] == [ids[1]]
    assert (store.run(ids[0])["deleted"], store.run(ids[0])["tags"]) == (1, "t2")
    queue(store, small_study())
    assert len(store.results()) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not a database at all", "not a Crumple database"),
        (b"SQLite format 3\x00" + b"\xff" * 200, "cannot be opened"),
    ],
)
def test_files_that_are_no_database_are_refused_untouched(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=words):
        Store(path)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["x.db"]


def test_another_programs_database_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    content = path.read_bytes()
    for readonly in (True, False):
        with pytest.raises(StoreError, match="not a Crumple database"):
            Store(path, readonly=readonly)
    assert path.read_bytes() == content


def test_folders_missing_files_and_unwritable_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="no database"):
        Store(tmp_path / "none.db", readonly=True)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(Path("/proc/crumple.db"))  # a file system where nobody can write


def test_opening_readonly_cannot_write(store: Writer) -> None:
    queue(store, small_study())
    with Store(store.path, readonly=True) as reader, pytest.raises(StoreError, match="readonly"):
        reader.annotate(1, note="no")


def test_a_study_exports_its_own_name_though_another_shares_its_runs(store: Writer) -> None:
    queue(store, small_study())
    queue(store, small_study(name="newer"))
    assert {row["study"] for row in store.results("small")} == {"small"}


def test_two_models_with_the_same_weights_are_one_run(store: Writer) -> None:
    study = small_study(compression=[])
    keys = RunKeys("same", "v", "d")
    queued = store.add_study(study, [(study.runs()[0], keys)] * 2)
    assert queued.run_ids == (1,)


def test_images_of_a_batch_that_was_never_committed_do_not_count(store: Writer) -> None:
    queue(store, small_study(compression=[]))
    clean = np.zeros((4, 1, 2, 2), np.float32)
    store.keep_images("d", {"images": clean})
    kept = {"index": np.arange(2), "adversarial": clean[:2]}
    store.add_batch(1, batch(0, 2), [sample(0, 1), sample(1, 1)], kept)
    store.db.execute(
        "CREATE TRIGGER full BEFORE INSERT ON batches BEGIN SELECT raise(ABORT, ''); END"
    )
    with pytest.raises(sqlite3.Error):
        store.add_batch(1, batch(2, 2), [sample(2, 1), sample(3, 1)], kept)
    assert len(store.images(1)["index"]) == len(store.samples(1)) == 2


def test_a_run_that_gets_on_is_not_blamed_for_the_death_of_its_process(store: Writer) -> None:
    queue(store, small_study(compression=[]))
    for start in range(4):
        store.start_run(1, 30)
        store.add_batch(1, batch(start, 1), [sample(start, 1)], None)
        assert store.recover() == [1]
    store.start_run(1, 30)
    assert store.recover() == []
    assert store.run(1)["status"] == "failed"


def test_a_lock_that_cannot_be_taken_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "lab.db.lock").mkdir()
    with pytest.raises(StoreError, match=r"lab\.db\.lock cannot be taken"):
        Writer(tmp_path / "lab.db")
