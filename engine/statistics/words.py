"""Numbers as people read them."""

from __future__ import annotations


def in_percent(share: float | None) -> str:
    """A share in [0,1] as percent with one decimal, without the sign; empty if there is none."""
    return "" if share is None else f"{100 * share:.1f}"


def percent(share: float | None) -> str:
    """``63.2 %``; empty if there is none."""
    return "" if share is None else f"{in_percent(share)} %"


def counted(count: int, noun: str, plural: str = "s") -> str:
    """``1 check``, ``2 checks``."""
    return f"{count} {noun}{'' if count == 1 else plural}"
