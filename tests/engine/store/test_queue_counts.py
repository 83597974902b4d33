"""How far the queue is: the same as counted from all studies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.store import Writer
from tests.benchmarks.large_store import queue, study

_STATES = ("waiting", "running", "finished", "failed", "cancelled")
_RUNS = 3


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    """Three studies of two runs each; a run of the first belongs to the second as well."""
    with Writer(tmp_path_factory.mktemp("counts") / "lab.db") as writer:
        ids = [queue(writer, study(f"study {seed}", seed, 2)) for seed in range(_RUNS)]
        second = writer.studies_of(ids[1][0])[0]
        writer.db.execute("INSERT INTO study_runs VALUES (?, ?, 99)", (second, ids[0][0]))
        yield writer


@settings(max_examples=60, deadline=None)
@given(
    states=st.lists(st.sampled_from(_STATES), min_size=12, max_size=12),
    deleted=st.sets(st.integers(0, 11)),
)
def test_the_queue_is_counted_as_from_all_studies(
    store: Writer, states: list[str], deleted: set[int]
) -> None:
    ids = [row["run_id"] for row in store.db.query("SELECT id AS run_id FROM runs")]
    with store.db.atomic():
        for run_id, state in zip(ids, states, strict=False):
            store.db.execute("UPDATE runs SET status = ? WHERE id = ?", (state, run_id))
    store.set_deleted(ids, deleted=False)
    store.set_deleted([ids[number] for number in deleted if number < len(ids)])
    active = [row for row in store.studies() if row["waiting"] or row["running"]]
    counts = store.queue_counts()
    assert counts.waiting == store.count("waiting")
    assert counts.runs == sum(row["runs"] for row in active)
    assert counts.runs - counts.ended == sum(row["waiting"] + row["running"] for row in active)
