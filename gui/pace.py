"""How far a run is and how long it takes, also while its first batch is under attack."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from engine import events

_LEAST_SHARE = 0.02
_REMEMBERED = 20


class Pace:
    """Follows the running run, and the time that the last runs took."""

    def __init__(self) -> None:
        self._started: events.RunStarted | None = None
        self._took: deque[float] = deque(maxlen=_REMEMBERED)

    def note(self, event: events.Event) -> None:
        """Take an event in."""
        match event:
            case events.RunStarted():
                self._started = event
            case events.RunFinished():
                if self._started and self._started.run_id == event.run_id and not event.reused:
                    self._took.append(event.time - self._started.time)
                self._started = None
            case events.RunFailed() | events.RunCancelled() | events.WorkerDied():
                self._started = None

    def share(self, progress: events.RunProgress) -> float:
        """How much of a run is done, in [0,1]; images under attack count by their steps."""
        started = self._started
        if not progress.total:
            return 0.0
        done = float(progress.done)
        if started and started.run_id == progress.run_id and started.steps:
            step = max(len(progress.curve) - 1, 0) * progress.stride
            done += (progress.seen - progress.done) * min(step / started.steps, 1.0)
        return min(done / progress.total, 1.0)

    def with_time_left(self, progress: events.RunProgress) -> events.RunProgress:
        """The same progress; where the engine gives no time left yet, with an estimate."""
        started = self._started
        if progress.seconds_left is not None or not started or started.run_id != progress.run_id:
            return progress
        before = started.done / progress.total if progress.total else 0.0
        share = self.share(progress)
        if share - before < _LEAST_SHARE:
            return progress
        passed = progress.time - started.time
        return replace(progress, seconds_left=passed * (1 - share) / (share - before))

    def queue_left(self, waiting: int, running: float | None) -> float | None:
        """Seconds until the queue is empty, from the mean of the last runs; None if unknown.

        Args:
            waiting: runs that wait.
            running: seconds left of the running run, None if unknown.
        """
        if not self._took:
            return None
        mean = sum(self._took) / len(self._took)
        return waiting * mean + (mean if running is None else running)
