"""What a variant costs: parameters, bytes and MACs, counted on the deployed model."""

from __future__ import annotations

import zlib

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from engine.compression.layers import weight_layers, weight_of
from engine.compression.variant import Variant
from engine.models.tensors import count_parameters, tensor_bytes
from engine.specs import recipe_label

_FP32 = 32


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LayerAccount(_Record):
    """One convolution or linear layer; the weight alone, without its bias."""

    name: str
    kind: str
    shape: tuple[int, ...]
    weights: int
    nonzero_weights: int
    levels: int
    weight_bits: int
    macs: int
    nonzero_macs: int
    packed_bytes: int
    bitmask_bytes: int
    csr_bytes: int


class Accounting(_Record):
    """The whole model; ``catalog.FORMULAS`` tells how each number comes about.

    Attributes:
        requested: the recipe in words.
        layers: in order of definition.
    """

    requested: str
    parameters: int
    nonzero_parameters: int
    weights: int
    nonzero_weights: int
    sparsity: float
    levels: int
    weight_bits: float
    activation_bits: int
    macs: int
    nonzero_macs: int
    dense_bytes: int
    packed_bytes: int
    bitmask_bytes: int
    csr_bytes: int
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
    layers = _layers(model, variant, image_shape)
    file = tensor_bytes(model)
    weights = sum(layer.weights for layer in layers)
    nonzero = sum(layer.nonzero_weights for layer in layers)
    scales = sum(quantiser.scale.numel() for quantiser in variant.weight_quantisers.values())
    rest = 4 * (_numbers(model) - weights + scales)
    packed = sum(layer.packed_bytes for layer in layers) + rest
    dense = 4 * _numbers(parent)
    return Accounting(
        requested=recipe_label(variant.recipe),
        parameters=count_parameters(model),
        nonzero_parameters=sum(int(p.count_nonzero()) for p in model.parameters()),
        weights=weights,
        nonzero_weights=nonzero,
        sparsity=1 - nonzero / weights,
        levels=max(layer.levels for layer in layers),
        weight_bits=sum(layer.weight_bits * layer.weights for layer in layers) / weights,
        activation_bits=variant.activation_bits or _FP32,
        macs=sum(layer.macs for layer in layers),
        nonzero_macs=sum(layer.nonzero_macs for layer in layers),
        dense_bytes=dense,
        packed_bytes=packed,
        bitmask_bytes=sum(layer.bitmask_bytes for layer in layers) + rest,
        csr_bytes=sum(layer.csr_bytes for layer in layers) + rest,
        rest_bytes=rest,
        file_bytes=len(file),
        deflated_bytes=len(zlib.compress(file, 9)),
        compression_rate=dense / packed,
        layers=layers,
    )


def _layers(
    model: nn.Module, variant: Variant, image_shape: tuple[int, int, int]
) -> tuple[LayerAccount, ...]:
    macs = count_macs(model, image_shape)
    bits = {name: quantiser.bits for name, quantiser in variant.weight_quantisers.items()}
    return tuple(
        _layer(name, type(layer).__name__, weight_of(layer), bits.get(name, _FP32), macs[name])
        for name, layer in weight_layers(model)
    )


def _layer(name: str, kind: str, weight: torch.Tensor, bits: int, macs: int) -> LayerAccount:
    count, nonzero = weight.numel(), int(weight.count_nonzero())
    values = _bytes(nonzero * bits)
    bitmask = _bytes(count) + values
    return LayerAccount(
        name=name,
        kind=kind,
        shape=tuple(weight.shape),
        weights=count,
        nonzero_weights=nonzero,
        levels=max(len(row.unique()) for row in weight.flatten(1)),
        weight_bits=bits,
        macs=macs,
        nonzero_macs=round(macs * nonzero / count),
        packed_bytes=min(_bytes(count * bits), bitmask),
        bitmask_bytes=bitmask,
        csr_bytes=values + 4 * nonzero + 4 * (len(weight) + 1),
    )


def count_macs(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """Multiply-accumulates of each convolution and linear layer for one image.

    The counter of torch counts two operations per multiply-accumulate.
    """
    device = next(model.parameters()).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *image_shape, device=device))
    counted = counter.get_flop_counts()
    root = type(model).__name__
    return {
        name: sum(counted.get(f"{root}.{name}", {}).values()) // 2
        for name, _ in weight_layers(model)
    }


def _bytes(bits: int) -> int:
    return -(-bits // 8)


def _numbers(model: nn.Module) -> int:
    """All fp32 numbers a model needs: parameters and buffers, but no counters."""
    return sum(t.numel() for t in model.state_dict().values() if t.is_floating_point())
