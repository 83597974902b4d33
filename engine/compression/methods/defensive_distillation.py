"""Defensive distillation (Papernot 2016): a network learns its own hot, soft predictions."""

from __future__ import annotations

import copy

from torch import nn

from engine.catalog.compressions.defences import DefensiveDistillationParams
from engine.catalog.training import StandardParams
from engine.compression.context import Context
from engine.compression.methods.student import student_of
from engine.compression.retrain import retrain
from engine.training.defensive import HotLabels, HotSoftLabels
from engine.training.objectives import Objective

_STEP = "defensive-distillation"


def defensive_distillation(
    model: nn.Module, params: DefensiveDistillationParams, context: Context
) -> nn.Module:
    """Train a network at a high temperature, then another one on its predictions at the same.

    Both begin from the same weights: fresh ones, or those that are there, with masks and
    quantisers acting. What ships is the second, at temperature 1, so that its logits are about as
    many times larger.

    Raises:
        SpecError: there are no training images.
        TrainingError: it diverged.
        Cancelled: it was stopped.
    """
    student = student_of(model, params.student, context, _STEP)
    teacher, recipe = copy.deepcopy(student), params.recipe()
    hot = HotLabels(params.temperature)
    _train(teacher, recipe, context, "teacher", hot)
    teacher.to(context.device).eval().requires_grad_(False)
    _train(student, recipe, context, "student", HotSoftLabels(teacher, params.temperature))
    return student


def _train(
    model: nn.Module, recipe: StandardParams, context: Context, stage: str, objective: Objective
) -> None:
    """Keep the last epoch: logits grow to the temperature while accuracy may stand still."""
    retrain(
        model,
        recipe,
        context,
        _STEP,
        stage=stage,
        objective=objective,
        first_candidate=recipe.epochs,
    )
