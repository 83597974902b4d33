"""Pace: a run moves and promises a time also while its first batch is under attack."""

from __future__ import annotations

import pytest

from engine import events
from gui.lab import Lab
from gui.pace import Pace
from tests.gui.conftest import Tell

STARTED = events.RunStarted(run_id=7, title="t", total=300, steps=40, time=100.0)


def progress(
    *, done: int = 0, seen: int = 100, points: int = 21, stride: int = 1, time: float = 110.0
) -> events.RunProgress:
    return events.RunProgress(
        run_id=7,
        done=done,
        total=300,
        broken=0,
        seen=seen,
        curve=(1.0,) * points,
        stride=stride,
        time=time,
    )


@pytest.mark.parametrize(
    ("step", "share"),
    [
        (progress(points=1), 0.0),
        (progress(), 50 / 300),
        (progress(points=6, stride=4), 50 / 300),
        (progress(points=200), 100 / 300),
        (progress(done=100, seen=200), 150 / 300),
        (progress(done=300, seen=300), 1.0),
    ],
)
def test_images_under_attack_count_by_their_steps(step: events.RunProgress, share: float) -> None:
    pace = Pace()
    pace.note(STARTED)
    assert pace.share(step) == pytest.approx(share)


def test_a_run_of_unknown_length_counts_whole_batches() -> None:
    assert Pace().share(progress(done=100, seen=200)) == pytest.approx(1 / 3)


def test_the_time_left_is_known_before_the_first_batch_ends(lab: Lab, tell: Tell) -> None:
    tell(lab, STARTED, progress())
    # A sixth took 10 seconds, so five sixths take 50.
    assert lab.client.progress[7].seconds_left == pytest.approx(50.0)


def test_no_time_is_guessed_from_almost_nothing() -> None:
    pace = Pace()
    pace.note(STARTED)
    assert pace.with_time_left(progress(points=2)).seconds_left is None
    given = events.RunProgress(
        run_id=7, done=0, total=300, broken=0, seen=100, curve=(1.0,), seconds_left=3.0
    )
    assert pace.with_time_left(given) is given


def test_what_an_earlier_try_stored_took_no_time_now() -> None:
    pace = Pace()
    pace.note(events.RunStarted(run_id=7, title="t", total=300, done=100, steps=40, time=100.0))
    step = pace.with_time_left(progress(done=200, seen=200))
    assert step.seconds_left == pytest.approx(10.0)


def test_the_queue_takes_the_mean_of_its_last_runs() -> None:
    pace = Pace()
    assert pace.queue_left(3, None) is None
    for run_id, seconds in ((1, 2.0), (2, 4.0)):
        pace.note(events.RunStarted(run_id=run_id, title="t", total=1, time=10.0))
        pace.note(events.RunFinished(run_id=run_id, result={}, time=10.0 + seconds))
    assert pace.queue_left(3, None) == pytest.approx(12.0)
    assert pace.queue_left(3, 0.5) == pytest.approx(9.5)


def test_reused_runs_say_nothing_of_the_pace() -> None:
    pace = Pace()
    pace.note(events.RunStarted(run_id=1, title="t", total=1, time=10.0))
    pace.note(events.RunFinished(run_id=1, result={}, reused=True, time=10.0))
    assert pace.queue_left(3, None) is None
