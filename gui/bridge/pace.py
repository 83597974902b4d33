"""How fast a download is."""

from __future__ import annotations

from collections import deque

_SPAN = 8.0
"""Seconds that are looked back: long enough to be steady, short enough to follow."""


class Pace:
    """Remembers how much had come at which time."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, done: int, now: float) -> float | None:
        """Bytes a second of late; None until two moments are known, and where none came.

        Args:
            done: bytes that have come; less than before means that it began anew.
            now: seconds of a clock that does not go back.
        """
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _SPAN:
            self._seen.popleft()
        began, first = self._seen[0]
        return (done - first) / (now - began) if now > began and done > first else None
