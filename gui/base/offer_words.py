"""Models on offer and downloads, as one reads them; no widgets."""

from __future__ import annotations

from engine.catalog.models.published import PublishedWeights, RobustAccuracy
from gui.base.words import duration

Fact = tuple[str, str, str]

_KILO = 1000


def size(count: float | None) -> str:
    """Bytes as kB, MB or GB; empty if they are not known.

    >>> size(102_530_333)
    '103 MB'
    """
    if count is None:
        return ""
    for unit in ("B", "kB", "MB"):
        if count < _KILO - 0.5:
            return f"{count:.1f} {unit}" if count < 10 and unit != "B" else f"{count:.0f} {unit}"
        count /= _KILO
    return f"{count:.1f} GB"


def share(value: float | None) -> str:
    """A share in percent; empty if it is not known."""
    return "" if value is None else f"{value:.1%}"


def robust(found: RobustAccuracy | None) -> str:
    """For example ``43.2% Linf 8/255``."""
    return "" if found is None else f"{found.accuracy:.1%} {found.norm} {found.eps}"


def progress(done: int, total: int | None, rate: float | None) -> str:
    """For example ``12 MB of 103 MB, 4.1 MB/s, 0:22 left``.

    Args:
        rate: bytes a second, None if it is not known yet.
    """
    come = f"{size(done)} of {size(total)}" if total else size(done)
    return ", ".join([come, *pace(done, total, rate)])


def pace(done: int, total: int | None, rate: float | None) -> list[str]:
    """The last two parts of ``progress``, as far as they are known."""
    if not rate:
        return []
    left = [f"{duration(max(0, total - done) / rate)} left"] if total else []
    return [f"{size(rate)}/s", *left]


def published_facts(weights: PublishedWeights) -> list[Fact]:
    """Label, value and what explains it, of published weights."""
    found = weights.robust
    side = f"{weights.crop}x{weights.crop}"
    cut = f"cut from pictures of {weights.resize} on the shorter side" if weights.resize else ""
    facts = [
        ("Name", weights.name, f"Published with {weights.package}, for {weights.dataset}."),
        ("Clean", share(weights.clean_accuracy) or "not stated", weights.stated_by),
    ]
    if found is not None:
        facts.append(("Robust", robust(found), f"{weights.stated_by}, by {found.evaluation}"))
    return [
        *facts,
        ("Parameters", f"{weights.parameters:,}", ""),
        ("Download", size(weights.size_bytes) or "size not stated", ""),
        ("Input", side, cut),
        ("Licence", weights.licence or "not stated", "of the weights"),
        *([("Source", weights.source, "")] if weights.source else []),
    ]
