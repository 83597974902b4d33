"""The compression steps on offer, from the modules of their families."""

from __future__ import annotations

from engine.catalog.compressions import (
    defences,
    distillation,
    pruning,
    qat,
    quantisation,
    trained_pruning,
    training,
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
        *pruning.entries(),
        *trained_pruning.entries(),
        *quantisation.entries(),
        *qat.entries(),
        *training.entries(),
        *distillation.entries(),
        *defences.entries(),
    )
