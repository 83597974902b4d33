"""Seconds of the store with many runs, beside their goals: CPU of this process, printed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.store import Writer
from tests.benchmarks.large_store import fill, queue, study

pytestmark = pytest.mark.bench
RUNS = int(os.environ.get("CRUMPLE_BENCH_RUNS", "20000"))


def timed(what: str, goal: float, do: Callable[[], object]) -> None:
    begun = time.process_time()
    do()
    print(f"{what}: {time.process_time() - begun:.2f} s (goal {goal} s)")


def test_queueing_and_moving_among_many_runs(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    fill(path, RUNS)
    print(f"\n{RUNS} finished runs, {path.stat().st_size / RUNS / 1000:.1f} KB each")
    with Writer(path) as store:
        more = study("more", 99, 2448)
        ids: list[int] = []
        timed("queue 2,448 runs", 1.0, lambda: ids.extend(queue(store, more)))
        timed("queue them again", 1.0, lambda: queue(store, more))
        timed("move them to the front", 0.3, lambda: store.move(ids, to_front=True))
        timed("tag 1,000", 0.3, lambda: store.tag(dict.fromkeys(ids[:1000], "x")))
        timed("delete 1,000", 0.3, lambda: store.set_deleted(ids[:1000]))
        timed("bring them back", 0.3, lambda: store.set_deleted(ids[:1000], deleted=False))
        timed("all results", 1.0, store.results)
