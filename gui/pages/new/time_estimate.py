"""How long a study may take, from what the runs in the store took; no widgets."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine import catalog
from engine.catalog.worst_case import WORST_CASE
from engine.specs.choices import AttackSpec, Step, draws
from engine.specs.study import Study
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
    "label_smoothing",
    "mixup",
    "swa_start",
    "density",
    "sparsity",
    "rate",
    "bits",
}
"""Parameters of a step that an epoch takes no longer for, beside those that say how many."""
_FREE_ENDS = ("epochs", "lr", "schedule")


class Paces:
    """What finished runs of this machine took, so ordered that a study is estimated quickly.

    Args:
        rows: finished runs (``Store.paces``).
        steps: steps that were trained (``Store.step_paces``).
    """

    def __init__(self, rows: Iterable[PaceRow] = (), steps: Iterable[StepPaceRow] = ()) -> None:
        self.most_images: dict[str, int] = {}
        self._times: dict[tuple[str, str], dict[str, list[float]]] = {}
        self._steps: dict[tuple[str, str, str], list[StepPaceRow]] = {}
        for row in rows:
            data = row["dataset"]
            self.most_images[data] = max(self.most_images.get(data, 0), row["n"])
            models = self._times.setdefault((data, row["attack"]), {})
            models.setdefault(row["model"], []).append(row["seconds"] / row["n"])
        for step in steps:
            key = step["dataset"], step["model"], step["name"]
            self._steps.setdefault(key, []).append(step)

    def per_image(self, dataset: str, model: str, attack: str) -> float | None:
        """Seconds for an image of this model, or of any model; None where nobody knows."""
        models = self._times.get((dataset, attack), {})
        times = models.get(model) or [time for each in models.values() for time in each]
        return statistics.median(times) if times else None

    def per_epoch(self, dataset: str, model: str, step: Step) -> float | None:
        """Seconds for an epoch of a step that costs the same; None where nobody knows."""
        cost = _cost(step.name, step.params)
        same = [
            row["seconds"] / row["epochs"]
            for row in self._steps.get((dataset, model, step.name), ())
            if _cost(step.name, row["params"]) == cost
        ]
        return statistics.median(same) if same else None


def estimate(study: Study, paces: Paces) -> str:
    """In words: how long all runs take on this machine, as far as stored runs tell.

    A run counts as what the same attack took for an image of the same model, or of any model
    on the same data; another attack says nothing. Each training counts once, however many runs
    share it, as its epochs times what one took in the same step of the same model.

    Args:
        study: what will run.
        paces: what runs of this machine took.
    """
    data = study.dataset.label
    images = study.dataset.limit or paces.most_images.get(data, 0)
    told = [
        _per_image(paces, data, model.name, attack)
        for model in study.models
        for attack in study.attack_specs()
    ]
    bound = any(bound for _, bound in told)
    counts = [_runs(study, attack) for _ in study.models for attack in study.attack_specs()]
    times = list(zip((time for time, _ in told), counts, strict=True))
    known = [images * count * time for time, count in times if time is not None]
    trainings = training_seconds(study, paces)
    learning = sum(seconds for seconds in trainings if seconds is not None)
    unknown = _unknown(trainings)
    if not known:
        trained = f"training about {duration_words(learning)}" if learning else ""
        return "; ".join(filter(None, (NO_ESTIMATE, trained, unknown)))
    total = duration_words(sum(known) + learning)
    missing = sum(count for time, count in times if time is None)
    attacked = f"{NO_ESTIMATE} for {missing} of {sum(counts)} runs" if missing else ""
    part = f", {duration_words(learning)} of it training" if learning else ""
    if attacked or unknown:
        return "; ".join(filter(None, (f"more than {total}{part}", attacked, unknown)))
    most = "at most " if bound else ""  # each attack meets only what the ones before left
    return f"{most}about {total} on this machine{part}"


def _runs(study: Study, attack: AttackSpec) -> int:
    """How often an attack goes against variants of one model."""
    drawn = sum(map(draws, study.recipes())) if study.seeds and attack.draws else 0
    return len(study.repeats) * (len(study.recipes()) + drawn)


def _per_image(
    paces: Paces, data: str, model: str, attack: AttackSpec
) -> tuple[float | None, bool]:
    """Seconds for an image, and whether that is what it would take at most.

    A worst case that nobody measured takes at most what all its attacks take in full.
    """
    own = paces.per_image(data, model, attack.label)
    if own is not None or attack.name != WORST_CASE:
        return own, False
    parts = [paces.per_image(data, model, one.label) for one in attack.members]
    known = [time for time in parts if time is not None]
    return (sum(known), True) if len(known) == len(parts) else (None, False)


def _unknown(trainings: Sequence[float | None]) -> str:
    missing = trainings.count(None)
    if not missing:
        return ""
    share = f" for {missing} of {len(trainings)} steps" if missing < len(trainings) else ""
    return f"{UNKNOWN_TRAINING}{share}"


def training_seconds(study: Study, paces: Paces) -> list[float | None]:
    """What each training of a study may take, None where nothing like it is stored.

    Recipes that begin alike are trained alike, so their common steps count once, for each seed.
    """
    data = study.dataset.label
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
            each = paces.per_epoch(data, model, step)
            seconds += len(study.repeats) * [None if each is None else epochs * each]
    return seconds


def _cost(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that an epoch takes longer or shorter for, as far as they are in force.

    Those that came later than what is stored had their defaults then.
    """
    model = catalog.find("compressions", name).params
    idle = model.idle(params)
    usual = {key: field.default for key, field in model.model_fields.items()}
    return {
        name: value
        for name, value in (usual | dict(params)).items()
        if name not in _FREE and name not in idle and not name.endswith(_FREE_ENDS)
    }


def duration_words(seconds: float) -> str:
    """As rough as the estimate is: ``40 s``, ``3 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{max(round(seconds / 10) * 10, 10)} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
