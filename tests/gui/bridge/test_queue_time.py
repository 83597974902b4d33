"""What the last runs took tells how long the queue takes."""

from __future__ import annotations

import pytest

from engine import events
from gui.bridge.queue_time import QueueTime


def test_the_queue_takes_the_mean_of_its_last_runs() -> None:
    queue_time = QueueTime()
    assert queue_time.queue_left(3, None) is None
    for run_id, seconds in ((1, 2.0), (2, 4.0)):
        queue_time.note(events.RunStarted(run_id=run_id, model="m", method="t", total=1, time=10.0))
        queue_time.note(events.RunFinished(run_id=run_id, result={}, time=10.0 + seconds))
    assert queue_time.queue_left(3, None) == pytest.approx(12.0)
    assert queue_time.queue_left(3, 0.5) == pytest.approx(9.5)


def test_checks_before_and_after_an_attack_are_part_of_a_run() -> None:
    queue_time = QueueTime()
    queue_time.note(events.RunStarted(run_id=1, model="m", method="t", total=1, time=10.0))
    checks = [(True, 30.0, "gradients"), (False, 70.0, "square")]
    for before, time, detail in checks:
        queue_time.note(
            events.CheckProgress(run_id=1, detail=detail, share=1.0, before=before, time=time)
        )
    queue_time.note(events.RunFinished(run_id=1, result={"seconds": 5.0}, time=90.0))
    assert queue_time.queue_left(2, None) == pytest.approx(240.0)


def test_reused_runs_say_nothing_of_the_pace() -> None:
    queue_time = QueueTime()
    queue_time.note(events.RunStarted(run_id=1, model="m", method="t", total=1, time=10.0))
    queue_time.note(events.RunFinished(run_id=1, result={}, reused=True, time=10.0))
    assert queue_time.queue_left(3, None) is None
