"""An attack on some images of a run, whether it is a single one or a worst case."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from engine.attacks import run_attack
from engine.attacks.cascade import Settled, run_cascade
from engine.attacks.known import Known
from engine.catalog.worst_case import WORST_CASE
from engine.data import ImageSet
from engine.pipeline import attack_plan
from engine.pipeline.variants import LoadedVariant
from engine.specs.choices import AttackSpec


def search(
    attack: AttackSpec,
    images: ImageSet,
    places: slice | Tensor,
    variant: LoadedVariant,
    known: Iterable[Known] = (),
    **how: Any,
) -> Settled:
    """Attack the images at these places.

    Args:
        attack: of a run, or of a check.
        images: of the run.
        places: of the images, in ``images``.
        variant: the deployed model, and what is searched.
        known: examples that a worst case begins with; nobody else looks at them.
        how: precision, seed, observer and should_stop, as ``run_attack`` takes them.
    """
    given = (
        variant.deployed,
        images.images[places].to(variant.device),
        images.labels[places].to(variant.device),
        attack,
    )
    if attack.name == WORST_CASE:
        order = attack_plan.cheapest_first(attack, len(images.class_names))
        return run_cascade(*given, order, view=variant.view, known=known, **how)
    result = run_attack(*given, view=variant.view, **how)
    return Settled(result, ("",) * len(result.broken), result.broken)
