"""What a check of a database finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.store.writer import Writer


@dataclass(frozen=True)
class Fault:
    """Something that is wrong.

    Attributes:
        text: what, in one sentence.
        cure: what mending does, in words; empty where nothing here can mend it.
        mend: does it, within a transaction.
    """

    text: str
    cure: str = ""
    mend: Callable[[Writer], None] | None = None
