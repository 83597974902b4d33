"""The window's end of the pipe to a worker."""

from __future__ import annotations

from collections import deque

from engine.events import Event, RunProgress
from engine.process.commands import Command


class Window:
    """Says the first commands at once and the others when a run moves."""

    def __init__(self, first: list[Command], then: list[Command]) -> None:
        self._coming, self._later = deque(first), then
        self.heard: list[Event] = []

    def send(self, event: Event) -> None:
        self.heard.append(event)
        if isinstance(event, RunProgress):
            self._coming.extend(self._later)
            self._later = []

    def poll(self, timeout: float | None) -> bool:
        return bool(self._coming)

    def receive(self) -> Command:
        return self._coming.popleft()
