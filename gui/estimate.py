"""How long a study may take, from what the runs in the store took; no widgets."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from engine.specs import Study
from engine.store import Row

NO_ESTIMATE = "no estimate yet"


def estimate(study: Study, paces: Sequence[Row]) -> str:
    """In words: how long all runs take on this machine, as far as stored runs tell.

    A run counts as what the same attack took for an image of the same model, or of any model
    on the same data; another attack says nothing.

    Args:
        study: what will run.
        paces: finished runs of this machine (``Store.paces``).
    """
    here = [row for row in paces if row["dataset"] == study.dataset.label]
    images = study.dataset.limit or max((row["n"] for row in here), default=0)
    attacks = [attack.label for attack in study.attack_specs()]
    times = [_per_image(here, model.name, one) for model in study.models for one in attacks]
    known = [one for one in times if one is not None]
    if not known:
        return NO_ESTIMATE
    variants = len(study.recipes())
    total = duration_words(images * variants * sum(known))
    missing = variants * (len(times) - len(known))
    if missing:
        runs = variants * len(times)
        return f"more than {total}; {NO_ESTIMATE} for {missing} of {runs} runs"
    return f"about {total} on this machine"


def _per_image(rows: Iterable[Row], model: str, attack: str) -> float | None:
    same = [row for row in rows if row["attack"] == attack]
    chosen = [row for row in same if row["model"] == model] or same
    return statistics.median(row["seconds"] / row["n"] for row in chosen) if chosen else None


def duration_words(seconds: float) -> str:
    """As rough as the estimate is: ``40 s``, ``3 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{max(round(seconds / 10) * 10, 10)} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
