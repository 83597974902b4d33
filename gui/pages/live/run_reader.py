"""What the Live page shows of stored runs, read beside the window; the newest question wins."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from PySide6.QtCore import QObject, Signal

from engine.errors import CrumpleError
from engine.store import Store
from gui.bridge.results_thread import ResultsThread
from gui.pages.live.state import LiveState, curve_points, stored_state
from gui.pages.live.training_state import (
    NO_TRAINING,
    Points,
    Training,
    expected_epochs,
    of_records,
)

T = TypeVar("T")

READING = "Reading…"


class RunReader(QObject):
    """Gives what has been read so far, and asks for the rest.

    Signals:
        arrived: something that was asked for is there.
    """

    arrived = Signal()

    def __init__(self, results: ResultsThread, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._results = results
        self._asked: dict[str, Hashable] = {}
        self._states: dict[int, tuple[str, LiveState]] = {}
        self._steps: dict[int, Training] = {}
        self._trains: dict[int, bool] = {}
        self._curves: dict[int, Points] = {}

    def state(self, run_id: int, stamp: str) -> LiveState:
        """What is stored of a run; what was before while it is read again.

        Args:
            stamp: another one when there is something else to read.
        """
        if self._states.get(run_id, ("",))[0] != stamp:

            def take(state: LiveState) -> None:
                self._states[run_id] = stamp, state

            def refused(error: CrumpleError) -> None:
                take(LiveState(run_id, phase=f"cannot be read: {error.message}"))
                self.arrived.emit()

            key = (run_id, stamp)
            self._ask("state", key, lambda store: stored_state(store, run_id), take, refused)
        known = self._states.get(run_id)
        return known[1] if known else LiveState(run_id, phase=READING)

    def steps(self, run_id: int) -> Training:
        """What is stored of the training of its steps."""
        if run_id not in self._steps:

            def take(training: Training) -> None:
                self._steps[run_id] = training

            self._ask("steps", run_id, lambda store: of_records(store.step_records(run_id)), take)
        return self._steps.get(run_id, NO_TRAINING)

    def forget_steps(self, run_id: int) -> None:
        """Another try may have stored more."""
        self._steps.pop(run_id, None)

    def trains(self, run_id: int) -> bool:
        """Whether its recipe trains; false until it is known."""
        if run_id not in self._trains:

            def take(epochs: int) -> None:
                self._trains[run_id] = epochs > 0

            def epochs(store: Store) -> int:
                return expected_epochs(store.run(run_id)["spec"]["recipe"])

            self._ask("recipe", run_id, epochs, take)
        return self._trains.get(run_id, False)

    def curves(self, run_ids: Sequence[int]) -> dict[int, Points]:
        """The curves of these runs, as far as they have been read."""
        missing = tuple(run_id for run_id in run_ids if run_id not in self._curves)
        if missing:

            def read(store: Store) -> dict[int, Points]:
                return {run_id: curve_points(store.curve(run_id)) for run_id in missing}

            self._ask("curves", missing, read, self._curves.update)
        return {run_id: self._curves[run_id] for run_id in run_ids if run_id in self._curves}

    def _ask(
        self,
        topic: str,
        key: Hashable,
        job: Callable[[Store], T],
        take: Callable[[T], None],
        refused: Callable[[CrumpleError], None] | None = None,
    ) -> None:
        """Ask once; what is refused is asked again when another run was looked at."""
        if self._asked.get(topic) == key:
            return
        self._asked[topic] = key

        def answer(result: T) -> None:
            take(result)
            del self._asked[topic]
            self.arrived.emit()

        self._results.ask(self, topic, job, answer, refused)
