"""Training: one trainer for standard training, PGD adversarial training and TRADES."""

from __future__ import annotations

from engine.training.checkpoint import Checkpoint
from engine.training.examples import Examples, hold_out
from engine.training.objectives import Objective, objective_of
from engine.training.trainer import Trained, Watch, train, validate

__all__ = [
    "Checkpoint",
    "Examples",
    "Objective",
    "Trained",
    "Watch",
    "hold_out",
    "objective_of",
    "train",
    "validate",
]
