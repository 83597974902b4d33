"""How long the window's thread is busy: with a call, and with what the call leaves to the loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from PySide6.QtWidgets import QApplication

from tests.helpers.patience import HANG


@dataclass
class WindowLoop:
    """Does steps and prints what they cost, in CPU seconds of this thread.

    Attributes:
        blocks: how long each turn of the loop, and each call, kept the thread.
    """

    app: QApplication
    blocks: list[float] = field(default_factory=list)

    def step(
        self,
        what: str,
        goal: float,
        do: Callable[[], object],
        done: Callable[[], object] = lambda: True,
    ) -> None:
        """Do it, let the loop run until it is done, and print both.

        While it waits for another thread the loop turns, and what it does counts, too.

        Args:
            what: for the line that is printed.
            goal: CPU seconds of the window's thread.
            do: the call.
            done: whether everything that comes of it has come.
        """
        before, wall, all_begun = len(self.blocks), time.perf_counter(), time.process_time()
        longest = self._block(do)
        while not done():
            assert time.perf_counter() < wall + HANG, what
            longest = max(longest, self._block(self.app.processEvents))
            time.sleep(0.001)
        for _ in range(3):
            longest = max(longest, self._block(self.app.processEvents))
        # Not what it costs to ask a thousand times a second: a window sleeps until something comes.
        spent, waited = sum(self.blocks[before:]), time.perf_counter() - wall
        of_all = time.process_time() - all_begun
        print(
            f"{what:36} {spent:6.3f} s (goal {goal} s), longest block {longest * 1000:4.0f} ms, "
            f"after {waited:.2f} s, all threads {of_all:.2f} s"
        )

    def rest(self, what: str, seconds: float = 0.5) -> None:
        """Let the loop run for so long, and print what it still did: what opening left to frames.

        Args:
            what: for the line that is printed.
            seconds: of the wall.
        """
        end, before = time.perf_counter() + seconds, len(self.blocks)
        while time.perf_counter() < end:
            self._block(self.app.processEvents)
            time.sleep(0.001)
        did = self.blocks[before:]
        print(f"{what:36} {sum(did):6.3f} s, longest block {max(did) * 1000:4.0f} ms")

    def _block(self, do: Callable[[], object]) -> float:
        begun = time.thread_time()
        do()
        self.blocks.append(time.thread_time() - begun)
        return self.blocks[-1]
