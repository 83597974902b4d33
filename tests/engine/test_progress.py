"""The live curve, against counting by hand, and the rate of messages."""

from __future__ import annotations

import pytest

from engine.attacks import StepPoint
from engine.events import CURVE_POINTS, Event, RunProgress
from engine.progress import ProgressMeter


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def point(step: int, broken: int, total: int) -> StepPoint:
    return StepPoint(
        step=step,
        total=total,
        broken=broken,
        active=total - broken,
        loss=1.0,
        margin=0.0,
        step_size=0.1,
        forwards=1,
        backwards=1,
        seconds=0.0,
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_curve_joins_judged_images_and_those_under_attack(clock: Clock) -> None:
    sent: list[Event] = []
    meter = ProgressMeter(7, 6, sent.append, clock)
    meter.start_batch(4)
    meter.end_batch([0, 2, -1, 1])
    meter.start_batch(2)
    clock.now = 1.0
    meter.step(point(1, 1, 2))
    last = sent[-1]
    assert isinstance(last, RunProgress)
    assert (last.done, last.broken, last.seen, last.total) == (4, 3, 6, 6)
    # after 0, 1, 2 steps: 1, 2, 3 of the judged are broken; 0, 1, 1 of the current two
    assert last.curve == pytest.approx((1 - 1 / 6, 1 - 3 / 6, 1 - 4 / 6))
    assert last.history == ((4, 3),)
    assert last.seconds_left == pytest.approx(0.5)


def test_messages_are_bounded_but_the_end_of_a_batch_always_comes(clock: Clock) -> None:
    sent: list[Event] = []
    meter = ProgressMeter(1, 2, sent.append, clock)
    meter.start_batch(2)
    for step in range(1, 1001):
        clock.now = step * 0.001
        meter.step(point(step, 0, 2))
    assert 15 <= len(sent) <= 21
    meter.end_batch([-1, -1])
    assert sent[-1].done == 2


def test_an_interrupted_run_goes_on_where_it_stopped(clock: Clock) -> None:
    sent: list[Event] = []
    meter = ProgressMeter(1, 6, sent.append, clock)
    meter.restore([0, -1, 3, -1], [2, 2])
    meter.start_batch(2)
    clock.now = 1.0
    meter.end_batch([-1, -1])
    assert sent[-1].history == ((2, 1), (4, 2), (6, 2))
    assert sent[-1].images_per_second == pytest.approx(2.0), "stored images took no time now"


def test_a_long_attack_sends_a_short_curve(clock: Clock) -> None:
    sent: list[RunProgress] = []
    meter = ProgressMeter(1, 2, sent.append, clock)
    meter.start_batch(2)
    for step in range(1, 20_001):
        clock.now = step
        meter.step(point(step, int(step >= 10_000), 2))
    last = sent[-1]
    assert len(last.curve) <= CURVE_POINTS + 1
    assert len(last.loss) <= CURVE_POINTS + 1
    halved = next(place for place, share in enumerate(last.curve) if share < 1)
    assert halved * last.stride == pytest.approx(10_000, rel=0.01)
