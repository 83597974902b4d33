"""Fine-tuning (Han 2015, arXiv 1506.02626): train what the steps before left, or a new network."""

from __future__ import annotations

from torch import nn

from engine.catalog.compressions.training import FinetuneParams
from engine.compression.context import Context
from engine.compression.methods.student import student_of
from engine.compression.retrain import retrain


def finetune(model: nn.Module, params: FinetuneParams, context: Context) -> nn.Module:
    """Train a model in place, or a new one; BatchNorm statistics follow the compressed network.

    The epoch kept is the one most accurate on held-out training images, of ``pgd-at`` and
    ``trades`` the most robust one.

    Raises:
        SpecError: there are no training images.
        TrainingError: it diverged.
        Cancelled: it was stopped.
    """
    student = student_of(model, params.student, context, "finetune")
    retrain(student, params.recipe(), context, "finetune")
    return student
