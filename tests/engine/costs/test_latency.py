"""Latency: what is timed, in which order, and what becomes of the times; by a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from engine.costs import latency
from engine.costs.latency import Latency, measure

SHAPE = (1, 2, 2)
CPU = torch.device("cpu")


class Clock:
    """Stands still until somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Worker(nn.Module):
    """Takes the times it is told, one after the other, and the last for ever."""

    def __init__(self, clock: Clock, log: list[tuple[str, int]], name: str, *times: float) -> None:
        super().__init__()
        self.clock, self.log, self.name, self.times = clock, log, name, list(times)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.log.append((self.name, len(x)))
        self.clock.now += self.times.pop(0) if len(self.times) > 1 else self.times[0]
        return torch.rand(len(x), 10)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(latency, "time", made)
    return made


def test_the_median_leaves_out_the_warm_up_and_outliers(clock: Clock) -> None:
    # Two warm-up passes of half a second, then three that count; likewise for batches of 64.
    own = (0.5, 0.5, 0.25, 9.0, 0.125)
    model = Worker(clock, [], "variant", *own, *(2 * one for one in own))
    single, many = measure(model, Worker(clock, [], "base", 0.5), SHAPE, CPU)
    assert (single.batch, single.milliseconds, single.base_milliseconds) == (1, 250, 500)
    assert (many.batch, many.milliseconds, many.base_milliseconds) == (64, 500, 500)
    assert single.repeats == many.repeats == 3
    assert single.threads == torch.get_num_threads()
    assert single.device.startswith("cpu")


def test_passes_that_take_long_are_few(clock: Clock) -> None:
    log: list[tuple[str, int]] = []
    pair = Worker(clock, log, "variant", 4.0, 3.0), Worker(clock, log, "base", 2.0)
    single, _ = measure(*pair, SHAPE, CPU)
    assert [name for name, size in log if size == 1] == ["variant", "base"] * 2
    assert (single.milliseconds, single.repeats) == (3e3, 1)


def test_variant_and_base_take_turns_for_as_long_as_there_is_time(clock: Clock) -> None:
    log: list[tuple[str, int]] = []
    pair = Worker(clock, log, "variant", 0.01), Worker(clock, log, "base", 0.005)
    found = measure(*pair, SHAPE, CPU)
    assert [name for name, _ in log] == ["variant", "base"] * (len(log) // 2)
    assert {one.batch for one in found} == {size for _, size in log} == {1, 64}
    assert [one.repeats for one in found] == [7, 7]  # 7 x 15 ms is the first beyond 100 ms
    quick = Worker(clock, [], "variant", 0.0), Worker(clock, [], "base", 0.0)
    assert [one.repeats for one in measure(*quick, SHAPE, CPU)] == [30, 30]


def test_passes_that_had_to_wait_do_not_end_the_series(clock: Clock) -> None:
    """On a busy machine most of the first passes may be held up; the median gets past them."""
    held_up = (0.001, 0.001, 0.5, 0.4, 0.001)  # two passes of warm-up, then two that wait
    model = Worker(clock, [], "variant", *held_up, *[0.001] * 27, *held_up, 0.001)
    found = measure(model, Worker(clock, [], "base", 0.002), SHAPE, CPU)
    for one in found:
        assert (one.milliseconds, one.base_milliseconds) == pytest.approx((1, 2))
    assert [one.repeats for one in found] == [30, 30]


def test_what_a_device_only_queued_is_waited_for(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def synchronize(device: torch.device) -> None:
        assert device.type == "meta"
        clock.now += 4.0

    monkeypatch.setattr(torch.accelerator, "synchronize", synchronize)
    monkeypatch.setattr(latency, "describe", str)
    monkeypatch.setattr(latency, "arithmetic", lambda *_, **__: nullcontext())  # no autocast
    pair = Worker(clock, [], "variant", 1.0), Worker(clock, [], "base", 2.0)
    for one in measure(*pair, SHAPE, torch.device("meta")):
        assert (one.milliseconds, one.base_milliseconds) == (5e3, 6e3)
        assert one.device == "meta"


def test_a_batch_that_memory_does_not_hold_is_left_out(clock: Clock) -> None:
    class Small(Worker):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 1:
                raise MemoryError
            return super().forward(x)

    small = Small(clock, [], "variant", 1.0)
    assert [one.batch for one in measure(small, Worker(clock, [], "base", 1.0), SHAPE, CPU)] == [1]


def test_other_errors_are_not_hidden(clock: Clock) -> None:
    class Broken(Worker):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        measure(Broken(clock, [], "v", 1.0), Worker(clock, [], "base", 1.0), SHAPE, CPU)


def test_no_random_number_is_used_up_and_no_gradient_is_kept(clock: Clock) -> None:
    before = torch.get_rng_state()
    measure(Worker(clock, [], "v", 1.0), Worker(clock, [], "base", 1.0), SHAPE, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()


def test_it_survives_json() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 10)).eval()
    for one in measure(model, model, SHAPE, CPU):
        assert one.milliseconds > 0
        assert Latency.model_validate_json(one.model_dump_json()) == one
