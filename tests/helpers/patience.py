"""How long a test waits for something before it calls it a hang.

Whoever waits in vain waits this long; whatever comes is not waited for a moment longer. So the
limits are generous: a machine with a busy neighbour is ten times as slow as one without.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

HANG = 600
"""Seconds."""


def until(true: Callable[[], Any], what: str, pause: Callable[[], object] | None = None) -> Any:
    """The first true value of a function, asked every few milliseconds.

    Args:
        true: what is waited for.
        what: the words for the error.
        pause: what to do between two questions; sleeps 10 ms if None.

    Raises:
        AssertionError: it did not come.
    """
    end = time.monotonic() + HANG
    while not (result := true()):
        assert time.monotonic() < end, f"waited in vain for: {what}"
        (pause or (lambda: time.sleep(0.01)))()
    return result
