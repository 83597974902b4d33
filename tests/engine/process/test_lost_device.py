"""A GPU that answers nobody any more fails one run, not the queue: the rest waits and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.errors import DeviceLost
from engine.events import Event, RunFailed, StudyFinished, WorkerDied
from engine.pipeline import runner, transfer_stage
from engine.pipeline.runner import Options
from engine.specs.study import Study
from engine.store import Store, Writer
from tests.helpers.engine_process import Watched, marked, study
from tests.helpers.failing_models import HEALTHY, ILLEGAL, TRICKS, install, install_in_workers

LOSES = "lose-device"
WORDS = (f"{LOSES} · none, ", ILLEGAL)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "lab.db") as writer:
        yield writer


def wanted(folder: Path, *models: str) -> Study:
    return study(*models, dataset=marked(folder, 30, 10))


def states(store: Store) -> dict[str, str]:
    return {row["model"]: row["status"] for row in store.results()}


def mend(patch: pytest.MonkeyPatch) -> None:
    """The model behaves from now on."""
    patch.setitem(TRICKS, LOSES, lambda images, logits: logits)


def lose(store: Writer, spec: Study) -> tuple[DeviceLost, list[Event]]:
    events: list[Event] = []
    options = Options("cpu", batch_size=7)
    with pytest.raises(DeviceLost) as lost:
        runner.run(spec, store, events.append, options=options)
    return lost.value, events


def test_in_this_process_the_rest_waits_and_goes_on_with_the_next_start(
    store: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    spec = wanted(tmp_path, LOSES, HEALTHY)
    lost, events = lose(store, spec)
    assert ILLEGAL in lost.message
    assert "more words" not in lost.message
    assert "--resume" in lost.hint
    (failure,) = [event for event in events if isinstance(event, RunFailed)]
    assert all(words in failure.message for words in WORDS)
    assert not [event for event in events if isinstance(event, StudyFinished)]
    assert states(store) == {LOSES: "failed", HEALTHY: "waiting"}
    # What takes the device away each time comes last, so that the others get their turn.
    lose(store, spec)
    assert states(store) == {LOSES: "failed", HEALTHY: "finished"}
    mend(monkeypatch)
    summary = runner.run(spec, store, events.append, options=Options("cpu", batch_size=7))
    assert summary.complete
    assert states(store) == {LOSES: "finished", HEALTHY: "finished"}


def test_the_last_run_of_a_study_ends_it_all_the_same(
    store: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    _, events = lose(store, wanted(tmp_path, HEALTHY, LOSES))
    finished = events[-1]
    assert isinstance(finished, StudyFinished)
    assert (finished.finished, finished.failed) == (1, 1)


def test_a_pair_that_takes_the_device_away_fails_alone(
    store: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    spec = wanted(tmp_path, HEALTHY, LOSES)
    mend(monkeypatch)
    judge, count = transfer_stage.misclassified, iter(range(100))

    def third_fails(*rest: Any) -> Tensor:
        if next(count) == 2:
            raise torch.AcceleratorError(ILLEGAL)
        return judge(*rest)

    monkeypatch.setattr(transfer_stage, "misclassified", third_fails)
    lose(store, spec)
    found = [row["status"] for row in store.transfers()]
    assert sorted(found) == ["failed", "finished", "finished", "waiting"]
    summary = runner.run(spec, store, lambda event: None, options=Options("cpu", batch_size=7))
    assert summary.complete
    assert [row["status"] for row in store.transfers()] == ["finished"] * 4


@pytest.mark.slow
def test_in_the_window_a_fresh_worker_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_in_workers(monkeypatch)
    watched = Watched(tmp_path / "lab.db")
    try:
        lost, healthy = watched.go(wanted(tmp_path, LOSES, HEALTHY))
        failure = watched.wait(RunFailed)
        assert failure.run_id == lost
        assert all(words in failure.message for words in WORDS)
        died = watched.wait(WorkerDied)
        assert ILLEGAL in died.reason
        assert not died.final
        finished = watched.wait(StudyFinished)
        assert (finished.finished, finished.failed) == (1, 1)
    finally:
        watched.client.close()
    with Store(tmp_path / "lab.db", readonly=True) as store:
        assert store.result(healthy)["status"] == "finished"
