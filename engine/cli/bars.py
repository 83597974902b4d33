"""Progress for people."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
    """A bar on standard error; nothing where that is no terminal."""

    monitor_interval = 0  # no watching thread: bars are updated often enough

    def __init__(self, **options: Any) -> None:
        super().__init__(file=sys.stderr, disable=None, **options)
