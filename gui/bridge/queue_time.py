"""How long the queue takes."""

from __future__ import annotations

from collections import deque

from engine import events

_REMEMBERED = 20


class QueueTime:
    """Remembers the time that the last runs took."""

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
