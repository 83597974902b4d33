"""Words and figures that several parts of the window write alike; no widgets."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """``1:12``, ``2:03:00``; an empty text if it is not known.

    >>> duration(72.4)
    '1:12'
    """
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def images_word(dataset: str) -> str:
    """What a card says of the images that a model was measured on."""
    return {"folder": "own folder", "npz": "own archive"}.get(dataset, dataset)


def run_count(count: int) -> str:
    """``1 run``, ``3 runs``, ``100,000 runs``."""
    return f"{count:,} run{'' if count == 1 else 's'}"
