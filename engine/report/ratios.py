"""Ratios that a report prints: a number, or in words why there is none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """One number beside another.

    Attributes:
        value: None where it is not defined.
        why: then the reason, to stand in a cell of a table; empty where there is a number.
    """

    value: float | None
    why: str = ""

    @property
    def times(self) -> str:
        """For example ``2.5x``, or the reason."""
        return self.why if self.value is None else f"{self.value:.3g}x"

    @property
    def plain(self) -> str:
        """For example ``0.93``, or the reason."""
        return self.why if self.value is None else f"{self.value:.2f}"

    @property
    def percent(self) -> str:
        """For example ``93.2``, or the reason."""
        return self.why if self.value is None else f"{100 * self.value:.1f}"


def ratio(part: float | None, whole: float | None, *, unknown: str, empty: str) -> Ratio:
    """``part / whole``.

    Args:
        part: None if nobody measured it.
        whole: likewise.
        unknown: what to say where one is not known.
        empty: what to say where ``whole`` is 0.
    """
    if part is None or whole is None:
        return Ratio(None, unknown)
    return Ratio(part / whole) if whole else Ratio(None, empty)
