"""What a run tells while it works: the live curve, the history and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from engine.attacks import StepPoint
from engine.events import CURVE_POINTS, Emit, RunProgress

INTERVAL = 0.05
"""Seconds between two messages of one run at least (20 a second)."""


class ProgressMeter:
    """Adds up verdicts and telemetry, and emits ``RunProgress`` at a bounded rate.

    Args:
        run_id: the run it speaks of.
        total: images of the run.
        emit: where messages go.
        clock: seconds; replaced in tests.
    """

    def __init__(
        self,
        run_id: int,
        total: int,
        emit: Emit,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._run_id, self._total, self._emit, self._clock = run_id, total, emit, clock
        self._broken_at: list[int] = []
        self._history: list[tuple[int, int]] = []
        self._points: list[StepPoint] = []
        self._spacing = 1
        self._part = ""
        self._batch = 0
        self._computed = 0
        self._begun = clock()
        self._sent = float("-inf")

    def restore(self, broken_at: list[int], sizes: list[int]) -> None:
        """Take over what an interrupted earlier try has stored."""
        done = 0
        for size in sizes:
            done += size
            self._count(broken_at[:done], done)
        self._broken_at = list(broken_at)

    def start_batch(self, size: int) -> None:
        """A batch of this many images comes under attack."""
        self._batch, self._points, self._spacing = size, [], 1

    def step(self, point: StepPoint) -> None:
        """One attack step of the current batch is over."""
        self._part = point.part
        if point.step % self._spacing == 0:
            self._points.append(point)
        if len(self._points) > CURVE_POINTS:
            self._points, self._spacing = self._points[1::2], 2 * self._spacing
        self._send()

    def end_batch(self, broken_at: list[int]) -> None:
        """The batch is judged and stored."""
        self._broken_at += broken_at
        self._computed += len(broken_at)
        self._batch, self._part = 0, ""
        self._count(self._broken_at, len(self._broken_at))
        self._send(force=True)

    def _count(self, broken_at: list[int], done: int) -> None:
        self._history.append((done, sum(at >= 0 for at in broken_at)))

    def _send(self, *, force: bool = False) -> None:
        now = self._clock()
        if not force and now - self._sent < INTERVAL:
            return
        self._sent = now
        done = len(self._broken_at)
        elapsed = max(now - self._begun, 1e-9)
        rate = self._computed / elapsed
        curve, stride = self._curve()
        self._emit(
            RunProgress(
                run_id=self._run_id,
                done=done,
                total=self._total,
                broken=sum(at >= 0 for at in self._broken_at),
                seen=done + self._under_attack(),
                curve=curve,
                stride=stride,
                loss=tuple((point.step, point.loss) for point in self._points if point.active),
                history=tuple(self._history),
                seconds_left=(self._total - done) / rate if rate else None,
                images_per_second=rate,
                part=self._part,
            )
        )

    def _curve(self) -> tuple[tuple[float, ...], int]:
        """Robust accuracy over judged images and those under attack, and its stride."""
        under_attack = self._under_attack()
        seen = len(self._broken_at) + under_attack
        if not seen:
            return (), 1
        steps = max([point.step for point in self._points] + self._broken_at + [0])
        stride = 1 + steps // CURVE_POINTS
        axis = np.arange(0, steps + 1, stride)
        judged = np.sort([at for at in self._broken_at if at >= 0])
        broken = np.searchsorted(judged, axis, side="right")
        if under_attack:
            at = np.array([point.step for point in self._points])
            count = np.array([point.broken for point in self._points])
            latest = np.searchsorted(at, axis, side="right") - 1
            broken = broken + np.where(latest >= 0, count[latest.clip(min=0)], 0)
        return tuple(float(share) for share in 1 - broken / seen), stride

    def _under_attack(self) -> int:
        return self._batch if self._points else 0
