"""The worker process as the window meets it: real processes, real deaths."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.events import (
    QueueChanged,
    RunCancelled,
    RunFinished,
    RunProgress,
    RunStarted,
    RunWaits,
    StudyFinished,
    StudyQueued,
    StudyRefused,
    WorkerDied,
    WorkerReady,
)
from engine.specs.dataset import DatasetSpec
from engine.store import Store, Writer
from tests.helpers.engine_process import Watched
from tests.helpers.studies import endless_study, small_study


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path / "lab.db")
    yield watched
    watched.client.close()


@pytest.mark.slow
def test_a_study_goes_through_and_a_fresh_client_waits(watched: Watched) -> None:
    assert watched.wait(WorkerReady).device == "cpu"
    watched.client.submit(small_study())
    watched.wait(QueueChanged, lambda event: event.paused)
    assert not [event for event in watched.events if isinstance(event, RunStarted)]
    watched.client.pause(False)
    finished = watched.wait(StudyFinished)
    assert (finished.finished, finished.failed) == (2, 0)
    results = [event.result for event in watched.events if isinstance(event, RunFinished)]
    with Store(watched.client.database, readonly=True) as store:
        assert store.results("small") == results


@pytest.mark.slow
def test_cancel_stops_a_running_run_and_the_next_one_starts(watched: Watched) -> None:
    first, second = watched.go(
        endless_study(model=[{"name": "digits-resnet"}, {"name": "digits-resnet-at"}])
    )
    watched.wait(RunProgress)
    watched.client.cancel([first])
    watched.wait(RunCancelled)
    watched.wait(RunStarted, lambda event: event.run_id == second)
    watched.client.cancel([second])
    watched.wait(RunCancelled, lambda event: event.run_id == second)
    assert not [event for event in watched.events if isinstance(event, WorkerDied)]


@pytest.mark.slow
def test_a_worker_that_does_not_answer_is_killed_and_replaced(watched: Watched) -> None:
    ready = watched.wait(WorkerReady)
    (run_id,) = watched.go(endless_study())
    watched.wait(RunProgress)
    os.kill(ready.pid, signal.SIGSTOP)  # as deaf as a hung kernel call
    watched.client.cancel([run_id])
    assert watched.wait(WorkerDied).run_id == run_id
    watched.wait(RunCancelled, lambda event: event.run_id == run_id)
    assert watched.wait(WorkerReady).pid != ready.pid
    with Store(watched.client.database, readonly=True) as store:
        assert store.run(run_id)["status"] == "cancelled"


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_run_goes_on(watched: Watched) -> None:
    ready = watched.wait(WorkerReady)
    (run_id,) = watched.go(endless_study())
    watched.wait(RunProgress)
    os.kill(ready.pid, signal.SIGKILL)
    died = watched.wait(WorkerDied)
    assert died.run_id == run_id
    assert "signal 9" in died.reason
    watched.wait(RunStarted, lambda event: event.run_id == run_id)


@pytest.mark.slow
def test_another_device_goes_on_with_the_queue(watched: Watched) -> None:
    """With what runs, too; and one that does not exist is no dead end."""
    ready = watched.wait(WorkerReady)
    assert ready.devices[0][0] == "cpu"
    (run_id,) = watched.go(endless_study())
    watched.wait(RunProgress)
    watched.client.use("cuda:99", "fp32")
    assert not watched.wait(WorkerDied).final
    died = watched.wait(WorkerDied)
    assert died.final
    assert "'cuda:99' cannot be used" in died.reason
    watched.client.use("cpu", "fp32")
    assert watched.wait(WorkerReady).pid != ready.pid
    watched.wait(RunStarted, lambda event: event.run_id == run_id)
    watched.wait(RunProgress)
    with Store(watched.client.database, readonly=True) as store:
        assert store.run(run_id)["attempts"] == 1, "it was not given up, but put back"


@pytest.mark.slow
def test_closing_keeps_the_run_for_the_next_start(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "lab.db")
    (run_id,) = watched.go(endless_study())
    watched.wait(RunProgress)
    watched.client.close()
    with Writer(tmp_path / "lab.db") as store:
        row = store.run(run_id)
    assert (row["status"], row["attempts"]) == ("waiting", 0)


@pytest.mark.slow
def test_what_cannot_work_is_refused_in_words(watched: Watched, tmp_path: Path) -> None:
    study = small_study().model_copy(
        update={"dataset": DatasetSpec(folder=str(tmp_path / "nowhere"))}
    )
    watched.client.submit(study)
    refused = watched.wait(StudyRefused)
    assert "nowhere" in refused.message


@pytest.mark.slow
def test_a_locked_database_is_told_once_and_retried_on_the_next_command(tmp_path: Path) -> None:
    with Writer(tmp_path / "lab.db"):
        watched = Watched(tmp_path / "lab.db")
        assert "Another Crumple" in watched.wait(WorkerDied).reason
    watched.client.pause(True)
    watched.wait(WorkerReady)
    watched.client.close()


@pytest.mark.slow
def test_what_a_dead_worker_did_not_read_is_told_to_the_next_and_no_more(watched: Watched) -> None:
    ready = watched.wait(WorkerReady)
    first, second = watched.go(
        endless_study(model=[{"name": "digits-resnet"}, {"name": "digits-resnet-at"}])
    )
    watched.wait(RunProgress)
    watched.client.cancel([second])
    watched.wait(RunCancelled)
    watched.client.retry([second])
    watched.wait(QueueChanged)
    os.kill(ready.pid, signal.SIGSTOP)
    watched.client.submit(small_study())
    watched.client.cancel([first])
    watched.wait(WorkerDied)
    watched.wait(RunCancelled, lambda event: event.run_id == first)
    assert watched.wait(StudyQueued).name == "small"
    watched.wait(RunStarted, lambda event: event.run_id == second)


@pytest.mark.slow
def test_a_stopped_queue_keeps_its_run_even_if_the_worker_is_deaf(watched: Watched) -> None:
    """Stop is no cancel: asked nicely or killed, the run waits, and nothing begins by itself."""
    ready = watched.wait(WorkerReady)
    first, second = watched.go(
        endless_study(model=[{"name": "digits-resnet"}, {"name": "digits-resnet-at"}])
    )
    watched.wait(RunProgress)
    watched.client.halt()
    assert watched.wait(RunWaits).run_id == first
    watched.client.pause(False)
    watched.wait(RunStarted, lambda event: event.run_id == first)
    watched.wait(RunProgress)
    os.kill(ready.pid, signal.SIGSTOP)  # as deaf as a hung kernel call
    watched.client.halt()
    assert watched.wait(WorkerDied).run_id == first
    watched.wait(WorkerReady)
    with Store(watched.client.database, readonly=True) as store:
        assert [row["status"] for row in store.queue()] == ["waiting", "waiting"]
    assert not [e for e in watched.events if isinstance(e, RunStarted) and e.run_id == second]
