"""Unstructured magnitude pruning (Han 2015, arXiv 1506.02626), without training afterwards."""

from __future__ import annotations

import torch
from torch import nn

from engine.catalog.compressions_pruning import MagnitudeParams
from engine.compression.context import Context
from engine.compression.layers import attach, weight_layers, weight_of
from engine.compression.mask import Mask, without_smallest


def magnitude(model: nn.Module, params: MagnitudeParams, context: Context) -> nn.Module:
    """Mask the weights of smallest absolute value, in place.

    Exactly round(sparsity x count) weights become zero, over all convolutions and linear
    layers together or within each; of equal values the earlier one goes first.
    """
    del context
    layers = [layer for _, layer in weight_layers(model)]
    sizes = [weight_of(layer).abs().flatten() for layer in layers]
    if params.scope == "global":
        together = _kept(torch.cat(sizes), params.sparsity)
        kept = torch.split(together, [len(size) for size in sizes])
    else:
        kept = tuple(_kept(size, params.sparsity) for size in sizes)
    for layer, mask in zip(layers, kept, strict=True):
        attach(layer, Mask(mask.reshape(layer.weight.shape).clone()))
    return model


def _kept(sizes: torch.Tensor, sparsity: float) -> torch.Tensor:
    return without_smallest(sizes, round(sparsity * len(sizes)))
