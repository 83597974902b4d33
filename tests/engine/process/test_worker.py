"""The worker's loop in this process, with a scripted window at the other end of the pipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.events import RunStarted, RunWaits, StudyFinished
from engine.pipeline.runner import Options, Runner
from engine.process.commands import Cancel, Command, Halt, Pause, Shutdown, Submit
from engine.process.worker import _Worker
from engine.store import Writer
from tests.helpers.studies import endless_study
from tests.helpers.worker_window import Window


def status_after(tmp_path: Path, then: list[Command]) -> str:
    window = Window([Submit(endless_study()), Pause(False)], then)
    with Writer(tmp_path / "lab.db") as store:
        runner = Runner(store, window.send, Options(device="cpu"))
        _Worker(window, runner).loop()  # type: ignore[arg-type]
        return str(store.run(1)["status"])


def test_leaving_puts_the_running_run_back(tmp_path: Path) -> None:
    assert status_after(tmp_path, [Shutdown()]) == "waiting"


def test_a_run_cancelled_while_leaving_stays_cancelled(tmp_path: Path) -> None:
    assert status_after(tmp_path, [Cancel((1,)), Shutdown()]) == "cancelled"


def test_a_stopped_queue_keeps_its_run_and_starts_no_other(tmp_path: Path) -> None:
    """Stop is no cancel: the run waits in its place, and the next one does not begin."""
    models = [{"name": "digits-resnet"}, {"name": "digits-resnet-at"}]
    window = Window([Submit(endless_study(model=models)), Pause(False)], [Halt(), Shutdown()])
    with Writer(tmp_path / "lab.db") as store:
        _Worker(window, Runner(store, window.send, Options(device="cpu"))).loop()  # type: ignore[arg-type]
        assert [row["status"] for row in store.queue()] == ["waiting", "waiting"]
        assert store.next_waiting() == 1
    kinds = [type(event) for event in window.heard]
    assert kinds.count(RunStarted) == kinds.count(RunWaits) == 1
    assert StudyFinished not in kinds


def test_a_worker_with_nothing_to_do_lets_go_of_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it blocks until something is asked for."""
    done: list[str] = []
    monkeypatch.setattr(Runner, "rest", lambda self: done.append("rest"))

    class Patient(Window):
        def poll(self, timeout: float | None) -> bool:
            if timeout is None:
                done.append("wait")
            return super().poll(timeout)

    window = Patient([Pause(False), Shutdown()], [])
    with Writer(tmp_path / "lab.db") as store:
        runner = Runner(store, window.send, Options(device="cpu"))
        _Worker(window, runner).loop()  # type: ignore[arg-type]
    assert done == ["rest", "wait"]
