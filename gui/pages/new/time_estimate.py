"""How long a study may take, from what the runs in the store took; no widgets."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine import catalog
from engine.specs.study import Step, Study
from engine.store import PaceRow, StepPaceRow

NO_ESTIMATE = "no estimate yet"


UNKNOWN_TRAINING = "training time unknown"

_FREE = {
    "eps",
    "beta",
    "alpha",
    "temperature",
    "momentum",
    "nesterov",
    "weight_decay",
    "attack_step_size",
    "attack_start",
    "density",
    "sparsity",
    "rate",
    "bits",
}
"""Parameters of a step that an epoch takes no longer for, beside those that say how many."""
_FREE_ENDS = ("epochs", "lr", "schedule")


def estimate(study: Study, paces: Sequence[PaceRow], step_paces: Sequence[StepPaceRow] = ()) -> str:
    """In words: how long all runs take on this machine, as far as stored runs tell.

    A run counts as what the same attack took for an image of the same model, or of any model
    on the same data; another attack says nothing. Each training counts once, however many runs
    share it, as its epochs times what one took in the same step of the same model.

    Args:
        study: what will run.
        paces: finished runs of this machine (``Store.paces``).
        step_paces: steps that it trained (``Store.step_paces``).
    """
    here = [row for row in paces if row["dataset"] == study.dataset.label]
    images = study.dataset.limit or max((row["n"] for row in here), default=0)
    attacks = [attack.label for attack in study.attack_specs()]
    times = [_per_image(here, model.name, attack) for model in study.models for attack in attacks]
    known = [time for time in times if time is not None]
    trainings = training_seconds(study, step_paces)
    learning = sum(seconds for seconds in trainings if seconds is not None)
    unknown = _unknown(trainings)
    variants = len(study.recipes())
    if not known:
        trained = f"training about {duration_words(learning)}" if learning else ""
        return "; ".join(filter(None, (NO_ESTIMATE, trained, unknown)))
    total = duration_words(images * variants * sum(known) + learning)
    missing = variants * (len(times) - len(known))
    attacked = f"{NO_ESTIMATE} for {missing} of {variants * len(times)} runs" if missing else ""
    part = f", {duration_words(learning)} of it training" if learning else ""
    if attacked or unknown:
        return "; ".join(filter(None, (f"more than {total}{part}", attacked, unknown)))
    return f"about {total} on this machine{part}"


def _unknown(trainings: Sequence[float | None]) -> str:
    missing = trainings.count(None)
    if not missing:
        return ""
    share = f" for {missing} of {len(trainings)} steps" if missing < len(trainings) else ""
    return f"{UNKNOWN_TRAINING}{share}"


def training_seconds(study: Study, step_paces: Sequence[StepPaceRow]) -> list[float | None]:
    """What each training of a study may take, None where nothing like it is stored.

    Recipes that begin alike are trained alike, so their common steps count once.
    """
    here = [row for row in step_paces if row["dataset"] == study.dataset.label]
    beginnings = {
        (model.name, repr(recipe[:count])): recipe[count - 1]
        for model in study.models
        for recipe in study.recipes()
        for count in range(1, len(recipe) + 1)
    }
    seconds: list[float | None] = []
    for (model, _), step in beginnings.items():
        params = catalog.find("compressions", step.name).params.model_validate(step.params)
        if epochs := params.training_epochs():
            each = _per_epoch(here, model, step)
            seconds.append(None if each is None else epochs * each)
    return seconds


def _per_epoch(rows: Iterable[StepPaceRow], model: str, step: Step) -> float | None:
    cost = _cost(step.name, step.params)
    same = [
        row["seconds"] / row["epochs"]
        for row in rows
        if (row["model"], row["name"]) == (model, step.name)
        and _cost(step.name, row["params"]) == cost
    ]
    return statistics.median(same) if same else None


def _cost(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that an epoch takes longer or shorter for, as far as they are in force."""
    idle = catalog.find("compressions", name).params.idle(params)
    return {
        name: value
        for name, value in params.items()
        if name not in _FREE and name not in idle and not name.endswith(_FREE_ENDS)
    }


def _per_image(rows: Iterable[PaceRow], model: str, attack: str) -> float | None:
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
