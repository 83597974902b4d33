"""The network that a step trains."""

from __future__ import annotations

from torch import nn

from engine.catalog.models.architectures import SAME
from engine.compression.context import Context
from engine.compression.macs import count_classes
from engine.compression.retrain import training_of
from engine.models.attention import open_attention
from engine.models.registry import build


def student_of(model: nn.Module, student: str, context: Context, step: str) -> nn.Module:
    """The model itself, or a network with fresh weights, which depend on the seed alone.

    The new network tells as many classes as the model does, as its teachers do too.

    Args:
        model: what the steps before left.
        student: ``SAME`` or an architecture.
        context: images and seed.
        step: the name of the method, for errors.

    Raises:
        SpecError: a new network is wanted, but there are no training images.
    """
    if student == SAME:
        return model
    training = training_of(context, step)
    classes = count_classes(model, training.shape)
    fresh = build(student, training.shape, classes, context.seed)
    return open_attention(fresh)
