"""The live curve, against counting by hand, and the rate of messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from engine.attacks import StepPoint, run_attack
from engine.diagnostics import choose_view
from engine.events import CURVE_POINTS, CheckProgress, Event, RunProgress
from engine.pipeline import attack_plan
from engine.pipeline.attack_plan import AttackPart
from engine.pipeline.gate_progress import GateTeller
from engine.pipeline.progress import ProgressMeter
from engine.specs.choices import make_attack
from tests.helpers.masked_models import MASKED, net


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def point(step: int, broken: int, total: int, part: str = "") -> StepPoint:
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
        part=part,
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_curve_joins_judged_images_and_those_under_attack(clock: Clock) -> None:
    sent: list[Event] = []
    meter = ProgressMeter(7, 6, sent.append, clock)
    meter.start_batch(4)
    clock.now = 1.0
    meter.end_batch([0, 2, -1, 1])
    meter.start_batch(2)
    clock.now = 1.1
    meter.step(point(1, 1, 2))
    last = sent[-1]
    assert isinstance(last, RunProgress)
    assert (last.done, last.broken, last.seen, last.total) == (4, 3, 6, 6)
    # after 0, 1, 2 steps: 1, 2, 3 of the judged are broken; 0, 1, 1 of the current two
    assert last.curve == pytest.approx((1 - 1 / 6, 1 - 3 / 6, 1 - 4 / 6))
    assert last.history == ((4, 3),)
    assert last.seconds_left == pytest.approx(0.4), "two images at four a second, begun 0.1 ago"
    assert last.active == 1


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
        clock.now = step / 200  # seconds; ten steps between two messages
        meter.step(point(step, int(step >= 10_000), 2))
    last = sent[-1]
    assert len(last.curve) <= CURVE_POINTS + 1
    assert len(last.loss) <= CURVE_POINTS + 1
    halved = next(place for place, share in enumerate(last.curve) if share < 1)
    assert halved * last.stride == pytest.approx(10_000, rel=0.01)


PLAN = (AttackPart("a", 10, 3), AttackPart("b", 20, 3), AttackPart("c", 100, 1))


def test_the_share_counts_work_and_never_falls(clock: Clock) -> None:
    sent: list[RunProgress] = []
    meter = ProgressMeter(1, 4, sent.append, clock, PLAN)
    for batch in range(2):
        meter.start_batch(2)
        for step in range(1, 131 if batch else 41):
            clock.now += 0.1
            name = "a" if step <= 10 else "b" if step <= 30 else "c"
            meter.step(point(step, 0, 2, name))
        if not batch:
            # a 30, b 60 and 10 of the 100 of c are behind: 100 of 190 for half of the images.
            assert sent[-1].share == pytest.approx(100 / 190 / 2)
        meter.end_batch([-1, 5])
        assert sent[-1].share == pytest.approx((batch + 1) / 2)
    shares = [one.share for one in sent]
    assert shares == sorted(shares)
    assert sent[-1].parts == ((0, "a"), (10, "b"), (30, "c"))
    assert [one.part for one in sent if one.done == 0][-1] == "c"


def test_a_batch_that_broke_early_leaves_the_marks_of_the_longest(clock: Clock) -> None:
    sent: list[RunProgress] = []
    meter = ProgressMeter(1, 4, sent.append, clock, PLAN)
    for steps in (31, 4):
        meter.start_batch(2)
        for step in range(1, steps + 1):
            meter.step(point(step, 0, 2, "a" if step <= 10 else "b" if step <= 30 else "c"))
        meter.end_batch([1, 1])
    assert sent[-1].parts == ((0, "a"), (10, "b"), (30, "c"))


def test_the_first_batch_promises_a_time_from_its_work(clock: Clock) -> None:
    sent: list[RunProgress] = []
    meter = ProgressMeter(1, 6, sent.append, clock, PLAN)
    meter.start_batch(2)
    meter.step(point(0, 0, 2))
    assert sent[-1].seconds_left is None, "no time is guessed from nothing"
    for step in range(1, 21):
        clock.now += 0.3
        meter.step(point(step, 0, 2, "a" if step <= 10 else "b"))
    # 60 of 190 forwards took 6 seconds: 13 more for this batch, then two batches of 19.
    assert sent[-1].seconds_left == pytest.approx(13 + 2 * 19)


def test_later_batches_go_by_the_images_done_and_count_down(clock: Clock) -> None:
    sent: list[RunProgress] = []
    meter = ProgressMeter(1, 300, sent.append, clock, PLAN)
    meter.start_batch(100)
    clock.now = 10.0
    meter.end_batch([-1] * 100)
    assert sent[-1].seconds_left == pytest.approx(20.0)
    meter.start_batch(100)
    left = []
    for step in range(1, 41):
        clock.now += 0.2
        meter.step(point(step, 0, 100, "a" if step <= 10 else "b" if step <= 30 else "c"))
        left.append(sent[-1].seconds_left)
    assert left == pytest.approx([20 - 0.2 * step for step in range(1, 41)])
    assert sent[-1].images_per_second == pytest.approx(10.0), "not diluted by the current batch"


def test_an_attack_of_unknown_length_counts_whole_batches(clock: Clock) -> None:
    sent: list[RunProgress] = []
    meter = ProgressMeter(1, 4, sent.append, clock, (AttackPart("", 0, 3),))
    meter.start_batch(2)
    meter.step(point(5, 0, 2))
    assert (sent[-1].share, sent[-1].seconds_left) == (0.0, None)
    meter.end_batch([-1, -1])
    assert sent[-1].share == 0.5


def test_a_second_pass_in_fp32_goes_on_after_the_first(clock: Clock) -> None:
    spec = make_attack({"name": "pgd", "eps": 0.1, "steps": 10})
    plan = attack_plan.parts(spec, 10, "bf16")
    assert attack_plan.length(plan) == 10 + 2
    meter = ProgressMeter(1, 2, (sent := list[RunProgress]()).append, clock, plan)
    meter.start_batch(2)
    clock.now = 1.0
    meter.step(point(11, 0, 2))
    assert sent[-1].share == pytest.approx(11 / 12)


@pytest.mark.parametrize(
    ("table", "steps", "finish"),
    [
        ({"name": "fgsm"}, 1, 1),
        ({"name": "pgd", "steps": 9, "restarts": 3}, 9 * 3, 2),
        ({"name": "pgd", "steps": 9, "restarts": 3, "random_start": False}, 9, 2),
        ({"name": "pgd", "steps": 7, "restarts": 3, "targets": 2}, 7 * 3 * 2, 2),
        ({"name": "pgd-l2", "steps": 17}, 17, 3),
        ({"name": "fb-pgd", "steps": 6}, 6, 6),
        ({"name": "apgd-ce", "steps": 5, "targets": 20}, 5 * 9, 9),
        ({"name": "apgd-dlr", "steps": 20, "restarts": 2}, 40, 3),
        ({"name": "apgd-t", "steps": 5, "targets": 9, "restarts": 2}, 5 * 9 * 2, 9),
        ({"name": "fab-t", "steps": 3, "targets": 4}, 12, 0),
        ({"name": "square", "n_queries": 70}, 70, 0),
        ({"name": "cw-l2", "steps": 10, "binary_search_steps": 4}, 40, 0),
        ({"name": "autoattack"}, 100 + 900 + 900 + 5000, 13 + 9 * 13),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_axis_is_as_long_as_the_attack_really_is(
    table: dict[str, Any], steps: int, finish: int, precision: str
) -> None:
    spec = make_attack({"eps": 1e-6, **table} if table["name"] != "cw-l2" else table)
    plan = attack_plan.parts(spec, 10, precision)
    steps += finish if precision == "bf16" else 0
    assert attack_plan.length(plan) == steps
    if table["name"] not in ("autoattack", "cw-l2"):
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 10)).eval()
        images = torch.full((2, 1, 2, 2), 0.5)
        labels = model(images).argmax(dim=1)
        last = run_attack(model, images, labels, spec, precision=precision).curve[-1]
        assert last.step == steps, "no image breaks, so every step is made"


def test_few_classes_have_few_targets() -> None:
    spec = make_attack({"name": "fab-t", "eps": 0.1, "steps": 5})
    assert attack_plan.length(attack_plan.parts(spec, 4, "fp32")) == 15


def test_the_time_left_holds_the_checks_of_what_survives(clock: Clock) -> None:
    """80 forwards' worth of work took 8 s, so 100 forwards of each of 10 survivors take 100 s."""
    left = []
    for after in (0, 100):
        clock.now = 0.0
        sent: list[Event] = []
        meter = ProgressMeter(7, 20, sent.append, clock, plan=(AttackPart("", 20, 3),), after=after)
        meter.start_batch(20)
        clock.now = 8.0
        meter.step(replace(point(10, 10, 20), forwards=40, backwards=20))
        told = sent[-1]
        assert isinstance(told, RunProgress)
        assert told.seconds_left is not None
        left.append(told.seconds_left)
    assert left[1] - left[0] == pytest.approx(100)
    clock.now = 16.0
    meter.end_batch([-1] * 5 + [3] * 15)
    told = sent[-1]
    assert isinstance(told, RunProgress)
    assert told.seconds_left == pytest.approx(100 * 5 * 16 / 80), "the attack is over, they are not"


@pytest.mark.parametrize(
    ("name", "examined"),
    [
        ("plain", ["outputs", "gradients"]),
        ("detached forward", ["outputs", "gradients", "straight-through twin"]),
    ],
)
def test_the_gate_tells_its_parts_and_never_goes_back(name: str, examined: list[str]) -> None:
    model = MASKED[name]() if name in MASKED else net()
    told: list[tuple[str, float]] = []
    images, labels = torch.rand(8, 1, 8, 8), torch.arange(8)
    choose_view(model, model, images, labels, tell=lambda what, share: told.append((what, share)))
    assert list(dict.fromkeys(what for what, _ in told)) == examined
    for one in examined[1:]:
        shares = [share for what, share in told if what == one]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert len([share for what, share in told if what == examined[-1]]) > 5


def test_the_time_of_the_gate_is_that_of_its_part() -> None:
    clock, events = Clock(), list[Event]()
    tell = GateTeller(7, events.append, clock)
    for now, what, share in ((0, "outputs", 0.0), (2, "gradients", 0.0), (4, "gradients", 0.25)):
        clock.now = now
        tell(what, share)
    clock.now = 4.01
    tell("gradients", 0.3)  # too soon after the last one
    clock.now = 5
    tell("gradients", 0.1)  # it began anew on fewer images
    assert all(isinstance(event, CheckProgress) and event.before for event in events)
    assert [(e.detail, e.share, e.seconds_left) for e in events] == [  # type: ignore[attr-defined]
        ("outputs", 0.0, None),
        ("gradients", 0.0, None),
        ("gradients", 0.25, 6.0),
        ("gradients", 0.3, pytest.approx(7.0)),
    ]
