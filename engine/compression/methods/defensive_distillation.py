"""Defensive distillation (Papernot 2016): a network learns its own hot, soft predictions."""

from __future__ import annotations

import copy

from torch import nn

from engine.catalog.compressions.defences import DefensiveDistillationParams
from engine.compression.context import Context
from engine.compression.methods.student import student_of
from engine.compression.retrain import retrain
from engine.training.defensive import HotLabels, HotSoftLabels

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
    retrain(teacher, recipe, context, _STEP, stage="teacher", objective=hot)
    teacher.to(context.device).eval().requires_grad_(False)
    soft = HotSoftLabels(teacher, params.temperature)
    retrain(student, recipe, context, _STEP, stage="student", objective=soft)
    return student
