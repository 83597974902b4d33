"""What runs took: of very many that are alike the newest, of others all."""

from __future__ import annotations

from pathlib import Path

from engine.store import Writer
from engine.store.paces import MOST_ALIKE
from tests.benchmarks.large_store import queue, study


def test_of_runs_that_are_alike_the_newest_are_told(tmp_path: Path) -> None:
    with Writer(tmp_path / "lab.db") as store:
        alike = [
            run_id
            for seed in range(MOST_ALIKE)  # two variants each
            for run_id in queue(store, study(f"study {seed}", seed, 2))
        ]
        others = queue(store, study("others", 0, 4))[1:4:2]  # of another radius
        for run_id in (*alike, *others):
            store.db.execute(
                "UPDATE runs SET status = 'finished', n = 10, seconds = ?, started = created, "
                "finished = created WHERE id = ?",
                (run_id, run_id),
            )
        told = [row["seconds"] for row in store.paces()]
    assert len(alike) == 2 * MOST_ALIKE
    assert sorted(told) == [*alike[-MOST_ALIKE:], *others]
