"""An engine that does nothing: it remembers what it was asked and tells what it is told to."""

from __future__ import annotations

from collections.abc import Sequence

from engine.events import Event
from engine.specs.study import Study


class FakeEngineClient:
    """Stands in for ``engine.process.client.EngineClient``.

    Attributes:
        calls: what was asked, in order, as (method, argument).
        events: what the next ``drain`` will give.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.events: list[Event] = []

    def start(self) -> None:
        self.calls.append(("start", None))

    def submit(self, study: Study) -> None:
        self.calls.append(("submit", study))

    def cancel(self, run_ids: Sequence[int]) -> None:
        self.calls.append(("cancel", list(run_ids)))

    def retry(self, run_ids: Sequence[int]) -> None:
        self.calls.append(("retry", list(run_ids)))

    def pause(self, paused: bool) -> None:
        self.calls.append(("pause", paused))

    def halt(self) -> None:
        self.calls.append(("halt", None))

    def move(self, run_ids: Sequence[int], to_front: bool) -> None:
        self.calls.append(("move", (*run_ids, to_front)))

    def use(self, device: str, precision: str) -> None:
        self.calls.append(("use", (device, precision)))

    def drain(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def close(self, timeout: float = 5.0) -> None:
        self.calls.append(("close", None))
