"""What a variant costs: parameters, bytes and MACs, counted on the deployed model."""

from __future__ import annotations

import math
import zlib
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from engine.compression.layers import Layer, bare_matrices, modules_of, weight_layers, weight_of
from engine.compression.macs import count_macs
from engine.compression.parts.base import ActivationQuantiser, WeightQuantiser
from engine.compression.variant import Variant
from engine.evaluation.guard import forked_rng
from engine.models.files.tensors import count_parameters, tensor_bytes
from engine.specs.choices import recipe_label

_FP32 = 32
_DEFLATE = 6
"""Level of deflate that zip and gzip use unless told otherwise."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LayerAccount(_Record):
    """One convolution or linear layer; the weight alone, without its bias.

    ``activation_bits`` are those of what the layer reads.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    weights: int
    nonzero_weights: int
    levels: int
    weight_bits: int
    activation_bits: int
    macs: int
    nonzero_macs: int
    bit_operations: int
    dense_bytes: int
    packed_bytes: int
    bitmask_bytes: int
    csr_bytes: int
    entropy_bytes: int


class Accounting(_Record):
    """The whole model; ``catalog.FORMULAS`` tells how each number comes about.

    Attributes:
        requested: the recipe in words.
        weights: of all matrices, those that lie in no layer included.
        bare_weights: of ``weights``, those in no layer, such as embeddings of positions; no step
            works on them.
        other_macs: of ``macs``, those that no layer here makes, for example in attention.
        activation_bits: of the activations that are quantised; not every layer need read such.
        activation_layers: how many do; None in what an older version stored.
        activation_macs: theirs; None in what an older version stored.
        layers: in order of definition.
    """

    requested: str
    parameters: int
    nonzero_parameters: int
    weights: int
    nonzero_weights: int
    bare_weights: int = 0
    sparsity: float
    levels: int
    weight_bits: float
    activation_bits: int
    activation_layers: int | None = None
    activation_macs: int | None = None
    macs: int
    other_macs: int = 0
    nonzero_macs: int
    bit_operations: int
    dense_bytes: int
    packed_bytes: int
    bitmask_bytes: int
    csr_bytes: int
    entropy_bytes: int
    rest_bytes: int
    file_bytes: int
    deflated_bytes: int
    compression_rate: float
    layers: tuple[LayerAccount, ...]


def account(parent: nn.Module, variant: Variant, image_shape: tuple[int, int, int]) -> Accounting:
    """Count what a variant costs beside its base model.

    Args:
        parent: the base model.
        variant: made from it.
        image_shape: (C, H, W) of one image.
    """
    model = variant.deployed()
    macs = count_macs(model, image_shape)
    layers = _layers(model, variant, image_shape, macs)
    bare = bare_matrices(model)
    weights = sum(layer.weights for layer in layers) + sum(one.numel() for one in bare)
    nonzero = sum(layer.nonzero_weights for layer in layers)
    nonzero += sum(int(one.count_nonzero()) for one in bare)
    on_codes = [layer for layer in layers if layer.activation_bits < _FP32]
    return Accounting(
        requested=recipe_label(variant.recipe),
        parameters=count_parameters(model),
        nonzero_parameters=sum(int(p.count_nonzero()) for p in model.parameters()),
        weights=weights,
        nonzero_weights=nonzero,
        bare_weights=sum(one.numel() for one in bare),
        sparsity=1 - nonzero / weights if weights else 0.0,
        levels=max((layer.levels for layer in layers), default=0),
        weight_bits=_mean_bits(layers, weights),
        activation_bits=variant.activation_bits or _FP32,
        activation_layers=len(on_codes),
        activation_macs=sum(layer.macs for layer in on_codes),
        macs=sum(macs.values()),
        other_macs=macs[""],
        nonzero_macs=sum(layer.nonzero_macs for layer in layers) + macs[""],
        bit_operations=sum(layer.bit_operations for layer in layers) + macs[""] * _FP32 * _FP32,
        **_sizes(parent, model, variant, layers),
        layers=layers,
    )


def _sizes(
    parent: nn.Module, model: nn.Module, variant: Variant, layers: tuple[LayerAccount, ...]
) -> dict[str, Any]:
    """All totals in bytes; ``rest_bytes`` is what no layer's weight holds, always fp32."""
    weights = sum(layer.weights for layer in layers)
    scales = sum(quantiser.numbers for quantiser in variant.weight_quantisers.values())
    rest = 4 * (_numbers(model) - weights + scales)
    packed = sum(layer.packed_bytes for layer in layers) + rest
    dense = 4 * _numbers(parent)
    file = tensor_bytes(model)
    return {
        "dense_bytes": dense,
        "packed_bytes": packed,
        "bitmask_bytes": sum(layer.bitmask_bytes for layer in layers) + rest,
        "csr_bytes": sum(layer.csr_bytes for layer in layers) + rest,
        "entropy_bytes": sum(layer.entropy_bytes for layer in layers) + rest,
        "rest_bytes": rest,
        "file_bytes": len(file),
        "deflated_bytes": len(zlib.compress(file, _DEFLATE)),
        "compression_rate": dense / packed,
    }


def _mean_bits(layers: tuple[LayerAccount, ...], weights: int) -> float:
    """Over all weights; those in no layer have 32."""
    bare = weights - sum(layer.weights for layer in layers)
    bits = sum(layer.weight_bits * layer.weights for layer in layers) + _FP32 * bare
    return bits / weights if weights else float(_FP32)


def _layers(
    model: nn.Module, variant: Variant, image_shape: tuple[int, int, int], macs: dict[str, int]
) -> tuple[LayerAccount, ...]:
    read = input_bits(model, image_shape)
    quantisers = variant.weight_quantisers
    return tuple(
        # Attention reads the weights of a layer that is never called itself.
        _layer(name, layer, quantisers.get(name), macs[name], read.get(name, _FP32))
        for name, layer in weight_layers(model)
    )


def _layer(
    name: str, layer: Layer, quantiser: WeightQuantiser | None, macs: int, activation_bits: int
) -> LayerAccount:
    weight = weight_of(layer)
    bits = quantiser.bits if quantiser else _FP32
    count, nonzero = weight.numel(), int(weight.count_nonzero())
    values = _bytes(nonzero * bits)
    bitmask = _bytes(count) + values
    return LayerAccount(
        name=name,
        kind=type(layer).__name__,
        shape=tuple(weight.shape),
        weights=count,
        nonzero_weights=nonzero,
        levels=max(len(row.unique()) for row in weight.flatten(1)),
        weight_bits=bits,
        activation_bits=activation_bits,
        macs=macs,
        nonzero_macs=round(macs * nonzero / count),
        bit_operations=macs * bits * activation_bits,
        dense_bytes=4 * count,
        packed_bytes=min(_bytes(count * bits), bitmask),
        bitmask_bytes=bitmask,
        csr_bytes=values + 4 * nonzero + 4 * (len(weight) + 1),
        entropy_bytes=_entropy_bytes(weight, quantiser),
    )


def _entropy_bytes(weight: torch.Tensor, quantiser: WeightQuantiser | None) -> int:
    """What an ideal coder of independent weights needs (Shannon 1948); fp32 values as they are."""
    if quantiser is None:
        symbols, values = weight != 0, int(weight.count_nonzero())
    else:
        symbols, values = quantiser.codes(weight), 0
    counts = torch.unique(symbols, return_counts=True)[1].double()
    bits = -(counts * (counts / counts.sum()).log2()).sum().item()
    # Not a bit more for what the sum of logarithms lost to rounding.
    return _bytes(math.ceil(bits - 1e-6) + _FP32 * values)


def input_bits(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """Bits of what each convolution and linear layer reads; 32 if it is not quantised.

    A layer counts as reading codes if every number it is given has left one quantiser before:
    also through a maximum or a reshape, but not through a mean or a sum. Of a layer that is
    called several times the most bits count.
    """
    levels: list[tuple[torch.Tensor, int]] = []
    bits: dict[str, int] = {}

    def read(name: str, x: torch.Tensor) -> None:
        found = [one for values, one in levels if bool(torch.isin(x, values).all())]
        bits[name] = max(min(found, default=_FP32), bits.get(name, 0))

    handles = [
        quantiser.register_forward_hook(
            lambda one, _, output: levels.append((output.unique(), one.bits))
        )
        for _, quantiser in modules_of(model, ActivationQuantiser)
    ] + [
        layer.register_forward_pre_hook(lambda _, given, name=name: read(name, given[0]))
        for name, layer in weight_layers(model)
    ]
    device = next(model.parameters()).device
    image = torch.rand(1, *image_shape, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad(), forked_rng(0):
            model(image.to(device))
    finally:
        for handle in handles:
            handle.remove()
    return bits


def _bytes(bits: int) -> int:
    return -(-bits // 8)


def _numbers(model: nn.Module) -> int:
    """All fp32 numbers a model needs: parameters and buffers once each, but no counters."""
    found = {id(t): t for t in model.state_dict(keep_vars=True).values()}
    return sum(t.numel() for t in found.values() if t.is_floating_point())
