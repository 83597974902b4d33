"""One-shot filter pruning by norm (Li 2017, arXiv 1608.08710), without training afterwards."""

from __future__ import annotations

import torch
from torch import nn

from engine.catalog.compressions.pruning import FilterParams
from engine.compression.context import Context
from engine.compression.layers import attach, weight_layers, weight_of
from engine.compression.parts.mask import Mask, without_smallest
from engine.errors import SpecError


def filter_pruning(model: nn.Module, params: FilterParams, context: Context) -> nn.Module:
    """Mask the output filters of smallest norm, in place.

    Of every convolution, or of all together, round(ratio x count) filters become zero; of
    equal ones the earlier goes first. The strongest filter of each convolution always stays,
    since a layer without any lets nothing pass, so very high ratios remove fewer. The last
    layer gives the logits and is left alone; biases and BatchNorm are too.

    Raises:
        SpecError: there is no convolution before the last layer.
    """
    del context
    layers = [layer for _, layer in weight_layers(model)[:-1] if isinstance(layer, nn.Conv2d)]
    if not layers:
        raise SpecError(
            "filter: this model has no convolution before its last layer.",
            "Use 'magnitude' or 'nm-sparsity', which work on linear layers too.",
        )
    order = 1 if params.criterion == "l1" else 2
    norms = [
        torch.linalg.vector_norm(weight_of(layer).flatten(1), ord=order, dim=1) for layer in layers
    ]
    for layer, kept in zip(layers, _kept(norms, params), strict=True):
        rows = kept.reshape(-1, *[1] * (layer.weight.dim() - 1))
        attach(layer, Mask(rows.expand_as(layer.weight).clone()))
    return model


def _kept(norms: list[torch.Tensor], params: FilterParams) -> list[torch.Tensor]:
    """Per layer, which filters stay."""
    if params.scope == "layer":
        return [
            without_smallest(one, min(round(params.ratio * len(one)), len(one) - 1))
            for one in norms
        ]
    guarded = [_strongest_last(one) for one in norms]
    together, count = torch.cat(guarded), sum(map(len, norms))
    removed = min(round(params.ratio * count), count - len(norms))
    return list(torch.split(without_smallest(together, removed), [len(one) for one in norms]))


def _strongest_last(norms: torch.Tensor) -> torch.Tensor:
    """Infinity in place of the largest; of equal ones the last, since the earlier go first."""
    guarded = norms.clone()
    guarded[torch.argsort(norms, stable=True)[-1]] = torch.inf
    return guarded
