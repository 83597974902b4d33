"""Hydra (Sehwag 2020, arXiv 2002.10509): learn which weights stay, then train these."""

from __future__ import annotations

import math

import torch
from torch import nn

from engine.catalog.compressions.trained_pruning import HydraParams
from engine.catalog.training import StandardParams, TradesParams
from engine.compression.context import Context
from engine.compression.layers import (
    Layer,
    attach,
    on_weight,
    replace_last,
    weight_layers,
    weight_of,
)
from engine.compression.parts.score_mask import ScoreMask, allowed_weights, kept_weights
from engine.compression.retrain import retrain
from engine.training.objectives import Objective, Trades, objective_of, threat_of
from engine.training.optimisation import Course


def hydra(model: nn.Module, params: HydraParams, context: Context) -> nn.Module:
    """Mask all but a share of the weights of every layer, in place, chosen by learned scores.

    Every convolution and linear layer, the first and the last included, keeps exactly
    numel - int((1 - k) numel) weights, or what masks before left of them; biases and BatchNorm
    stay. First the scores and the scale and shift of BatchNorm are trained and the weights are
    not; then the mask is fixed and everything else is trained. Both trainings keep their best
    epoch on held-out images, unless ``selection`` says on test images, as the published code does.

    Raises:
        SpecError: a training is asked for and there are no training images, or no test images to
            choose on.
        DataError: the second stream is missing, damaged, or does not fit them.
        TrainingError: it diverged.
        Cancelled: it was stopped.
    """
    generator = torch.Generator().manual_seed(context.seed)
    for _, layer in weight_layers(model):
        allowed = allowed_weights(layer)
        kept = kept_weights(allowed.numel(), params.density)
        attach(layer, ScoreMask(first_scores(layer, params.scores, generator), allowed, kept))
    if params.prune_epochs:
        _learn_scores(model, params, context)
    for _, layer in weight_layers(model):
        scored = on_weight(layer)[-1]
        assert isinstance(scored, ScoreMask)
        replace_last(layer, scored.frozen())
    if params.finetune_epochs:
        _train(model, params, context, "fine-tune", params.finetune_epochs, params.finetune_lr)
    return model


def _learn_scores(model: nn.Module, params: HydraParams, context: Context) -> None:
    """Train the scores; the weights want no gradient meanwhile."""
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, ScoreMask):
            module.scores.requires_grad_(True)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and not params.freeze_bn:
            module.requires_grad_(True)
    try:
        _train(model, params, context, "prune", params.prune_epochs, params.prune_lr)
    finally:
        for parameter, needed in wanted:
            parameter.requires_grad_(needed)


def _train(
    model: nn.Module, params: HydraParams, context: Context, stage: str, epochs: int, lr: float
) -> None:
    """One of the two trainings, which differ in length and rate alone."""
    recipe = params.recipe(params.training, epochs=epochs, lr=lr, nesterov=False)
    retrain(
        model,
        recipe,
        context,
        "hydra",
        stage=stage,
        objective=_objective(recipe, params),
        course=cosine(epochs),
        second_stream=params.further_archive(),
        on_test_images=params.chooses_on_test_images(),
    )


def _objective(recipe: StandardParams, params: HydraParams) -> Objective:
    """What a training minimises, with the passes of the published code if these are asked for."""
    if isinstance(recipe, TradesParams) and params.passes == "as coded":
        return Trades(threat_of(recipe), recipe.beta, further_passes=True)
    return objective_of(recipe)


def first_scores(layer: Layer, kind: str, generator: torch.Generator) -> torch.Tensor:
    """Where the scores of a layer begin.

    Args:
        layer: a convolution or linear layer.
        kind: ``scaled``: sqrt(6 / fan_in) W / max|W|, as the paper; ``kaiming``: uniform
            within sqrt(1 / fan_in).
        generator: of random scores, on the CPU.
    """
    weight = weight_of(layer)
    if kind == "kaiming":
        return nn.init.kaiming_uniform_(
            torch.empty(weight.shape), a=math.sqrt(5), generator=generator
        )
    largest = float(weight.abs().max()) or 1.0  # a layer of zeros has no order anyway
    return math.sqrt(6 / weight[0].numel()) * weight / largest


def cosine(epochs: int) -> Course:
    """The published course: constant in epoch e from 0, 0.5 (1 + cos(pi (e - 1) / epochs)).

    Of a single epoch that would be 0 throughout; there it is 1.
    """
    if epochs == 1:
        return lambda _: 1.0
    return lambda behind: 0.5 * (1 + math.cos(math.pi * (math.floor(behind) - 1) / epochs))
