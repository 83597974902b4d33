"""Which layers of an imported network hold zeros by a mask of its file.

A weight changes its name on the way from a file into a network, and more so into an exported
program. Its numbers stay, and tell it.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from engine.compression.layers import Layer, weight_layers
from engine.importing.plain_tensors import few
from engine.importing.read import State
from engine.importing.report import LayerDensity
from engine.models.attention import open_attention
from engine.models.denormals import without_denormals

_MANY_ZEROS = 0.5
"""Share of the weights from which on zeros that no mask holds are told."""


def layers_of(network: nn.Module) -> dict[str, Layer]:
    """The layers that steps of a recipe find; the network stays as it is.

    Attention has layers there (``engine.models.attention``), with the tensors that it has here.
    """
    shared = {id(one): one for one in (*network.parameters(), *network.buffers())}
    return dict(weight_layers(open_attention(copy.deepcopy(network, shared))))


def masked_layers(layers: Mapping[str, Layer], masked: State) -> tuple[set[str], list[str]]:
    """The layers that masks of the file act on.

    Args:
        layers: of the network, by name.
        masked: weights of the file with their masks multiplied in, by their names there.

    Returns:
        Their names, and those of the file whose zeros no layer has.
    """
    prints = {name: _print(one) for name, one in masked.items() if not one.all()}
    sizes = {masked[name].numel() for name in prints}
    found = {
        name: _print(layer.weight)
        for name, layer in layers.items()
        if layer.weight.numel() in sizes
    }
    held = {name for name, one in found.items() if one in prints.values()}
    left = [name for name, one in prints.items() if one not in found.values()]
    return held, left


def _print(weight: torch.Tensor) -> bytes:
    """Of its numbers, whatever the shape."""
    plain, _ = without_denormals(weight.detach().float().contiguous())
    return hashlib.sha256(plain.numpy().tobytes()).digest()


def notes_of(layers: Iterable[LayerDensity], left: list[str]) -> list[str]:
    """What becomes of the zeros of a network while recipes train it, in words."""
    layers = list(layers)
    held = [one for one in layers if one.masked]
    notes = []
    if held:
        count = f"{len(held)} layer{'s' if len(held) > 1 else ''}"
        notes.append(
            f"Masks of the file hold the zeros of {count}, of whose weights {density_of(held):.1%} "
            "are left: every step of a recipe keeps them at zero."
        )
    if left:
        notes.append(
            f"The masks of {few(left)} are on no weight of a convolution or linear layer: a step "
            "that trains lets their zeros go."
        )
    weights = sum(one.weights for one in layers)
    zeros = sum(round((1 - one.density) * one.weights) for one in layers)
    loose = zeros - sum(round((1 - one.density) * one.weights) for one in held)
    if loose > _MANY_ZEROS * weights:
        notes.append(
            f"{loose / weights:.1%} of the weights are zero, and no mask of the file holds them: a "
            "step that trains lets them go. To hold them, begin its recipe with magnitude, "
            f"sparsity = {zeros / weights:.9g}, which masks exactly these."
        )
    return notes


def density_of(layers: Iterable[LayerDensity]) -> float:
    """Share of the weights of some layers that are not zero; 1 without any."""
    layers = list(layers)
    weights = sum(one.weights for one in layers)
    return sum(one.density * one.weights for one in layers) / weights if weights else 1.0
