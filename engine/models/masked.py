"""Layers whose zeros a mask holds: a mark on the layer itself, which copies of it keep.

A checkpoint that was pruned brings masks with it. Its weights are stored with the zeros in them and
its card names the layers; what compresses hangs a mask on each of them
(``engine.compression.layers.hold_zeros``).
"""

from __future__ import annotations

from torch import nn

from engine.catalog import ModelCard
from engine.errors import ModelError
from engine.models.normalised import Normalised

_MARK = "zeros_are_held"


def mark(model: nn.Module, card: ModelCard) -> None:
    """Mark the layers that a card names, in place.

    Raises:
        ModelError: it names one that the network lacks.
    """
    network = model.model if isinstance(model, Normalised) else model
    layers = dict(network.named_modules())
    for name in card.masked:
        if name not in layers:
            raise ModelError(
                f"The card of {card.id} says that a mask holds the zeros of {name!r}, which the "
                "network does not have.",
                "The card was changed or is damaged: restore it, or import the model again.",
            )
        setattr(layers[name], _MARK, True)


def is_marked(layer: nn.Module) -> bool:
    """Whether a mask holds the zeros of a layer."""
    return bool(getattr(layer, _MARK, False))
