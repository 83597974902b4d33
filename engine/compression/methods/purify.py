"""Purification: a denoiser learns to take adversarial noise off, the network stays as it is."""

from __future__ import annotations

import copy

from torch import nn

from engine.catalog.compressions.defences import PurifyParams
from engine.compression.context import Context
from engine.compression.parts.denoiser import Denoiser
from engine.compression.parts.front import Fronted
from engine.compression.retrain import retrain, training_of
from engine.training.objectives import threat_of
from engine.training.purification import Purification, Purified


def purify(model: nn.Module, params: PurifyParams, context: Context) -> nn.Module:
    """Train a denoiser in front of a model, which stays bit by bit as it is.

    The last epoch is kept: none is more accurate on clean images than one that changes nothing.

    Raises:
        SpecError: there are no training images.
        TrainingError: it diverged.
        Cancelled: it was stopped.
    """
    channels = training_of(context, "purify").shape[0]
    classifier = copy.deepcopy(model).to(context.device).eval().requires_grad_(False)
    denoiser = Denoiser(channels, params.width, context.seed).to(context.device)
    purified = Purified(denoiser, classifier)
    objective = Purification(threat_of(params), params.guide)
    retrain(
        purified,
        params,
        context,
        "purify",
        objective=objective,
        first_candidate=params.epochs,
    )
    return Fronted(purified.denoiser, model)
