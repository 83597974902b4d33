"""How far the checks before an attack are, as messages."""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.events import INTERVAL, CheckProgress, Emit


class GateTeller:
    """Is told what the gate examines and how much of that is behind; emits at a bounded rate.

    Args:
        run_id: the run whose variant is examined.
        emit: where messages go.
        clock: seconds; replaced in tests.
    """

    def __init__(
        self, run_id: int, emit: Emit, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._run_id, self._emit, self._clock = run_id, emit, clock
        self._what, self._begun, self._sent, self._share = "", 0.0, float("-inf"), 0.0

    def __call__(self, what: str, share: float) -> None:
        """Of what is examined now this share is behind."""
        now = self._clock()
        if what != self._what:
            self._what, self._begun, self._sent, self._share = what, now, float("-inf"), 0.0
        # It may begin anew on fewer images, where memory does not hold them.
        self._share = share = max(share, self._share)
        if now - self._sent < INTERVAL:
            return
        self._sent = now
        left = (now - self._begun) * (1 - share) / share if share else None
        self._emit(
            CheckProgress(
                run_id=self._run_id, detail=what, share=share, seconds_left=left, before=True
            )
        )
