"""A compression of one's own: weights drawn by lot become zero, the baseline of all pruning.

crumple check-method docs/examples/random_pruning.py --trust-code
crumple methods add docs/examples/random_pruning.py --trust-code
"""

from __future__ import annotations

import torch
from torch import nn

from engine.extend import (
    CompressionMethod,
    Context,
    Entry,
    Field,
    Mask,
    Number,
    Params,
    attach,
    weight_layers,
)


class RandomPruningParams(Params):
    """The parameters; ``sparsity`` is a word that the accounting knows what was asked by."""

    sparsity: Number = Field(
        0.5, ge=0, lt=1, title="sparsity", description="Share of each layer's weights set to zero."
    )

    def needs_images(self) -> bool:
        """It looks at no training images, so a dataset without any will do."""
        return False


def random_pruning(model: nn.Module, params: RandomPruningParams, context: Context) -> nn.Module:
    """Hang a mask on every convolution and linear layer; it keeps acting in later steps."""
    draw = torch.Generator().manual_seed(context.seed)  # never the global random state
    for _, layer in weight_layers(model):
        count = layer.weight.numel()
        kept = torch.ones(count, dtype=torch.bool)
        kept[torch.randperm(count, generator=draw)[: round(params.sparsity * count)]] = False
        attach(layer, Mask(kept.reshape(layer.weight.shape)))
    return model


METHODS = [
    CompressionMethod(
        entry=Entry(
            id="random-pruning",
            title="Random pruning",
            family="pruning",
            summary="Weights drawn by lot become zero, in every layer the same share.",
            paper="",
            formula="W <- W * m, m drawn with round(sparsity n) zeros in every layer",
            params=RandomPruningParams,
        ),
        apply=random_pruning,
    )
]
