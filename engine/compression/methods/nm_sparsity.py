"""N:M sparsity by magnitude (Zhou 2021, arXiv 2102.04010; Mishra 2021, arXiv 2104.08378)."""

from __future__ import annotations

import torch
from torch import nn

from engine.catalog.compressions.pruning import NmSparsityParams
from engine.compression.context import Context
from engine.compression.layers import Layer, attach, weight_layers, weight_of
from engine.compression.parts.mask import Mask, without_smallest
from engine.errors import SpecError


def nm_sparsity(model: nn.Module, params: NmSparsityParams, context: Context) -> nn.Module:
    """Mask all but the N largest of every M weights, in place.

    A group is M consecutive input channels at one output channel and one kernel position; of
    equal weights the earlier one goes first. Masks of other steps can only add zeros, so the
    pattern, at most N of M, holds whatever comes before or after.

    Raises:
        SpecError: a layer's inputs are no multiple of M and it may not stay dense, or no layer
            is left.
    """
    del context
    layers = weight_layers(model)
    rest = [(name, layer) for name, layer in layers if _inputs(layer) % params.m]
    if rest and (params.indivisible == "refuse" or len(rest) == len(layers)):
        raise _refusal(rest, len(layers), params)
    for _, layer in layers:
        if _inputs(layer) % params.m == 0:
            attach(layer, Mask(pattern(weight_of(layer), params.n, params.m)))
    return model


def pattern(weight: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Which weights stay.

    Args:
        weight: (O, I, ...), I a multiple of m.
        n: how many of a group stay.
        m: length of a group.

    Returns:
        Booleans of the same shape; exactly n of each m along I are True.
    """
    last = weight.abs().movedim(1, -1)
    kept = without_smallest(last.reshape(*last.shape[:-1], -1, m), m - n)
    return kept.flatten(-2).movedim(-1, 1).contiguous()


def _inputs(layer: Layer) -> int:
    return int(layer.weight.shape[1])


def _refusal(rest: list[tuple[str, Layer]], layers: int, params: NmSparsityParams) -> SpecError:
    name, first = rest[0]
    others = f" ({len(rest)} of {layers} layers do not divide)" if len(rest) > 1 else ""
    groups = " per group" if isinstance(first, nn.Conv2d) and first.groups > 1 else ""
    inputs = f"{_inputs(first)} input{'' if _inputs(first) == 1 else 's'}{groups}"
    hint = "Set indivisible to 'dense' to leave such layers as they are, or choose another m."
    if len(rest) == layers:
        hint = "No layer of this model divides: choose another m."
    return SpecError(
        f"nm-sparsity {params.n}:{params.m}: layer {name!r} has {inputs}, "
        f"which is no multiple of m = {params.m}{others}.",
        hint,
    )
