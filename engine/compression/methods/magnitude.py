"""Magnitude pruning of single weights, at once (Han 2015, arXiv 1506.02626) or while training."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from engine.catalog.compressions.pruning import MagnitudeParams
from engine.compression.context import Context
from engine.compression.layers import Layer, attach, on_weight, weight_layers, weight_of
from engine.compression.methods.gradual import Gradual
from engine.compression.parts.mask import Mask, without_smallest
from engine.compression.retrain import retrain
from engine.training import objective_of


def magnitude(model: nn.Module, params: MagnitudeParams, context: Context) -> nn.Module:
    """Mask the weights of smallest absolute value, in place.

    Exactly round(sparsity x count) weights become zero, over all convolutions and linear
    layers together or within each; of equal values the earlier one goes first. ``gradual``
    trains meanwhile; only an epoch with the full sparsity is kept.

    Raises:
        SpecError: ``gradual`` has no training images.
        TrainingError: it diverged.
        Cancelled: it was stopped.
    """
    layers = [layer for _, layer in weight_layers(model)]
    if params.schedule == "one-shot":
        for layer, mask in zip(layers, _masks(layers, params.sparsity, params), strict=True):
            attach(layer, Mask(mask))
        return model
    for layer in layers:
        attach(layer, Mask(torch.ones_like(layer.weight, dtype=torch.bool)))

    def raised(trained: nn.Module, sparsity: float) -> None:
        found = [layer for _, layer in weight_layers(trained)]
        for layer, mask in zip(found, _masks(found, sparsity, params), strict=True):
            last = on_weight(layer)[-1]
            assert isinstance(last, Mask)
            last.mask.copy_(mask)

    recipe = params.recipe(params.training, schedule=params.lr_schedule)
    objective = Gradual(objective_of(recipe), raised, params.ramp_epochs, params.sparsity)
    retrain(
        model,
        recipe,
        context,
        "magnitude",
        stage="gradual",
        objective=objective,
        first_candidate=params.ramp_epochs,
    )
    return model


def _masks(layers: list[Layer], sparsity: float, params: MagnitudeParams) -> list[torch.Tensor]:
    """Which weights of each layer stay; those that are zero already go first."""
    if params.scope == "global":
        together = _kept(torch.cat([*_sizes(layers)]), sparsity)
        kept = torch.split(together, [layer.weight.numel() for layer in layers])
    else:
        kept = tuple(_kept(size, sparsity) for size in _sizes(layers))
    return [
        mask.reshape(layer.weight.shape).clone() for layer, mask in zip(layers, kept, strict=True)
    ]


def _sizes(layers: list[Layer]) -> Iterator[torch.Tensor]:
    return (weight_of(layer).abs().flatten() for layer in layers)


def _kept(sizes: torch.Tensor, sparsity: float) -> torch.Tensor:
    return without_smallest(sizes, round(sparsity * len(sizes)))
