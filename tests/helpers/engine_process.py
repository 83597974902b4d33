"""The real engine process, and studies that it fails on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from engine.data import load
from engine.events import (
    Event,
    StudyQueued,
)
from engine.process.client import EngineClient
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Study
from tests.helpers.failing_models import (
    POISON,
)
from tests.helpers.patience import until
from tests.helpers.studies import small_study

E = TypeVar("E", bound=Event)


class Watched:
    """A client and everything it has said."""

    def __init__(self, database: Path) -> None:
        self.client = EngineClient(database, device="cpu", grace=1.0)
        self.events: list[Event] = []
        self._place = 0
        self.client.start()

    def wait(self, kind: type[E], where: Callable[[E], bool] = lambda _: True) -> E:
        """The next event that fits, after the last one waited for."""
        return until(lambda: self._next(kind, where), kind.__name__)  # type: ignore[no-any-return]

    def _next(self, kind: type[E], where: Callable[[E], bool]) -> E | None:
        self.events += self.client.drain()
        while self._place < len(self.events):
            event = self.events[self._place]
            self._place += 1
            if isinstance(event, kind) and where(event):
                return event
        return None

    def go(self, study: Study) -> tuple[int, ...]:
        self.client.submit(study)
        queued = self.wait(StudyQueued)
        self.client.pause(False)
        return queued.run_ids


def marked(folder: Path, count: int, *places: int) -> dict[str, str]:
    """Digits of the test set, over and over; those attacked at these places carry the mark."""
    digits = load(DatasetSpec(name="digits"), 0)
    images = np.resize(digits.images.numpy(), (count, *digits.shape))
    labels = np.resize(digits.labels.numpy(), count)
    spec = {"npz": str(folder / "marked.npz")}
    np.savez(spec["npz"], x=images, y=labels)
    order = load(DatasetSpec(**spec), 0).indices.numpy()
    images[order[list(places)], 0, 0, 0] = POISON
    np.savez(spec["npz"], x=images, y=labels)
    return spec


def study(*models: str, **changes: Any) -> Study:
    tables: dict[str, Any] = {
        "model": [{"name": name} for name in models],
        "compression": [],
        "attack": [{"name": "fgsm", "eps": 0.05}],
    }
    return small_study(**{**tables, **changes})
