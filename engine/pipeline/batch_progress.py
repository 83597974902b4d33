"""How far the attack on one batch is, and when it may end."""

from __future__ import annotations

from collections.abc import Sequence

from engine.attacks import StepPoint
from engine.pipeline.attack_plan import AttackPart

_LEAST_SHARE = 0.005
_SAMPLE, _GROWTH = 0.2, 1.05
"""Seconds between two notes of how much work is done at least, and how it grows with time."""


class BatchPace:
    """Follows one batch through the parts of its attack.

    Work is counted in forwards of one image, so that the many cheap steps of a search without
    gradients do not hide how long the few dear steps before it take.

    Args:
        plan: the parts of the attack; empty if unknown.
        now: seconds.
    """

    def __init__(self, plan: Sequence[AttackPart], now: float) -> None:
        self._plan = plan if all(part.steps for part in plan) else ()
        self._work = sum(part.work for part in self._plan)
        self.start(now)

    def start(self, now: float) -> None:
        """A new batch begins."""
        self.begun, self._place, self._first, self._last = now, 0, 0, 0
        self._done = 0.0
        self._samples: list[tuple[float, float]] = [(now, 0.0)]

    @property
    def share(self) -> float:
        """Of the work that would be done if no more image broke, in [0,1]; 0 if unknown."""
        return min(self._done / self._work, 1.0) if self._work else 0.0

    def step(self, point: StepPoint) -> None:
        """A step is over."""
        if not self._plan:
            return
        names = [part.name for part in self._plan]
        if point.part and point.part != names[self._place] and point.part in names:
            later = [i for i, name in enumerate(names) if name == point.part and i > self._place]
            self._place, self._first = (later or [self._place])[0], self._last
        before = sum(part.work for part in self._plan[: self._place])
        steps = point.step - self._first
        self._done = max(self._done, before + steps * self._plan[self._place].cost)
        self._last = point.step

    def seconds_left(self, now: float) -> float | None:
        """Until the batch is done, at the pace of the second half of the time so far.

        Only the second half, because images that break leave the batch and make it faster.
        """
        if now - self.begun >= _SAMPLE + _GROWTH * (self._samples[-1][0] - self.begun):
            self._samples.append((now, self._done))
        if self.share < _LEAST_SHARE:
            return None
        middle = (self.begun + now) / 2
        then, work = max(one for one in self._samples if one[0] <= middle)
        if self._done <= work:
            return None
        return max(self._work - self._done, 0.0) * (now - then) / (self._done - work)
