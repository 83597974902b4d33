"""What a run tells while it works: the live curve, the history and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from engine.attacks import StepPoint
from engine.events import CURVE_POINTS, INTERVAL, Emit, RunProgress
from engine.pipeline.attack_plan import AttackPart
from engine.pipeline.batch_progress import BatchPace

Marks = tuple[tuple[int, str], ...]


class ProgressMeter:
    """Adds up verdicts and telemetry, and emits ``RunProgress`` at a bounded rate.

    Args:
        run_id: the run it speaks of.
        total: images of the run.
        emit: where messages go.
        clock: seconds; replaced in tests.
        plan: what the attack does, if known.
        after: forwards that the checks after the attack spend on an image that holds.
    """

    def __init__(
        self,
        run_id: int,
        total: int,
        emit: Emit,
        clock: Callable[[], float] = time.perf_counter,
        plan: Sequence[AttackPart] = (),
        after: int = 0,
    ) -> None:
        self._run_id, self._total, self._emit, self._clock = run_id, total, emit, clock
        self._broken_at: list[int] = []
        self._history: list[tuple[int, int]] = []
        self._points: list[StepPoint] = []
        self._spacing = 1
        self._part = ""
        self._marks: Marks = ()
        self._longest_marks: Marks = ()
        self._batch = self._active = 0
        self._computed = 0
        self._pace = BatchPace(plan, clock())
        self._begun = self._ended = clock()
        self._sent = float("-inf")
        self._share = 0.0
        self._after = after
        self._forwards = self._forwards_before = 0

    def restore(self, broken_at: list[int], sizes: list[int]) -> None:
        """Take over what an interrupted earlier try has stored."""
        done = 0
        for size in sizes:
            done += size
            self._count(broken_at[:done], done)
        self._broken_at = list(broken_at)

    def start_batch(self, size: int) -> None:
        """A batch of this many images comes under attack."""
        self._batch, self._active, self._points, self._spacing = size, size, [], 1
        self._marks = ()
        self._pace.start(self._clock())

    def step(self, point: StepPoint) -> None:
        """One attack step of the current batch is over."""
        if point.part and point.part != self._part:
            self._mark(max(point.step - 1, 0), point.part)
        self._part, self._active = point.part, point.active
        # A backward takes about as long as two forwards.
        self._forwards = self._forwards_before + point.forwards + 2 * point.backwards
        self._pace.step(point)
        if point.step % self._spacing == 0:
            self._points.append(point)
        if len(self._points) > CURVE_POINTS:
            self._points, self._spacing = self._points[1::2], 2 * self._spacing
        self._send()

    def _mark(self, step: int, part: str) -> None:
        self._marks = (*self._marks, (step, part))
        # Once the images of a batch are all broken, its later parts do not begin.
        if len(self._marks) >= len(self._longest_marks):
            self._longest_marks = self._marks

    def end_batch(self, broken_at: list[int]) -> None:
        """The batch is judged and stored."""
        self._broken_at += broken_at
        self._computed += len(broken_at)
        self._batch, self._active, self._part, self._ended = 0, 0, "", self._clock()
        self._forwards_before = self._forwards
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
        elapsed = max(self._ended - self._begun, 1e-9)
        curve, stride = self._curve()
        # A batch whose images all broke early is suddenly done; nothing ever goes back.
        self._share = max(self._share, (done + self._batch * self._pace.share) / self._total)
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
                seconds_left=self._seconds_left(now),
                images_per_second=self._computed / elapsed if self._computed else 0.0,
                part=self._part,
                parts=self._longest_marks,
                active=self._active,
                share=min(self._share, 1.0),
            )
        )

    def _seconds_left(self, now: float) -> float | None:
        """Of the attack, and of the checks of what it leaves at the pace of its forwards."""
        left = self._attack_left(now)
        return None if left is None else left + self._checks_left(now)

    def _checks_left(self, now: float) -> float:
        seen = len(self._broken_at) + self._under_attack()
        if not self._forwards or not seen:
            return 0.0
        held = sum(at < 0 for at in self._broken_at) + (self._active if self._points else 0)
        survivors = self._total * held / seen
        return self._after * survivors * (now - self._begun) / self._forwards

    def _attack_left(self, now: float) -> float | None:
        """From the images done and their pace; before there are any, from the steps."""
        after = self._total - len(self._broken_at) - self._batch
        batch = self._pace.seconds_left(now) if self._batch else 0.0
        if self._computed:
            each = (self._ended - self._begun) / self._computed
            expected = each * self._batch - (now - self._ended)
            return each * after + (expected if expected > 0 or batch is None else batch)
        if batch is None or not self._batch:
            return None
        return batch + after * (now - self._pace.begun + batch) / self._batch

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
