"""The compression steps on offer, from the modules of their families."""

from __future__ import annotations

from engine.catalog import (
    compressions_distillation,
    compressions_pruning,
    compressions_qat,
    compressions_quantisation,
    compressions_trained_pruning,
    compressions_training,
)
from engine.catalog.entry import Entry, NoParams, Section, section

_BASELINE = Entry(
    id="none",
    title="None (baseline)",
    family="baseline",
    summary="The base model as it is; always part of a study.",
    paper="",
    params=NoParams,
)


def entries() -> Section:
    """All compression steps, by id."""
    return section(
        _BASELINE,
        *compressions_pruning.entries(),
        *compressions_trained_pruning.entries(),
        *compressions_quantisation.entries(),
        *compressions_qat.entries(),
        *compressions_training.entries(),
        *compressions_distillation.entries(),
    )
