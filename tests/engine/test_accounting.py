"""Accounting: every number against an independent count."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
import torch
from torch import nn

from engine import catalog, compression, models
from engine.accounting import Accounting, LayerAccount, account, count_macs
from engine.catalog import FORMULAS
from engine.compression.layers import weight_layers
from engine.models.tensors import tensor_bytes
from engine.specs import make_step

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return models.load(catalog.model_card("digits-resnet"))


def _variant(base: nn.Module, *steps: dict[str, object]) -> compression.Variant:
    return compression.apply(base, tuple(map(make_step, steps)), compression.Context())


def test_base_costs_what_it_weighs(base: nn.Module) -> None:
    result = account(base, _variant(base), SHAPE)
    card = catalog.model_card("digits-resnet")
    assert result.compression_rate == 1
    assert result.parameters == card.parameters
    assert result.requested == "none"
    statistics = sum(m.num_features * 2 for m in base.modules() if isinstance(m, nn.BatchNorm2d))
    assert result.dense_bytes == result.packed_bytes == 4 * (card.parameters + statistics)


def test_macs_equal_the_hand_count(base: nn.Module) -> None:
    # output pixels x output channels x input channels x kernel
    hand = {
        "0": 64 * 16 * 1 * 9,
        "3.conv1": 64 * 16 * 16 * 9,
        "3.conv2": 64 * 16 * 16 * 9,
        "4.conv1": 16 * 32 * 16 * 9,
        "4.conv2": 16 * 32 * 32 * 9,
        "4.shortcut.0": 16 * 32 * 16,
        "5.conv1": 4 * 64 * 32 * 9,
        "5.conv2": 4 * 64 * 64 * 9,
        "5.shortcut.0": 4 * 64 * 32,
        "8": 64 * 10,
    }
    assert count_macs(base, SHAPE) == hand
    result = account(base, _variant(base, {"name": "magnitude", "sparsity": 0.5}), SHAPE)
    assert result.macs == sum(hand.values())  # masks save none
    assert result.nonzero_macs == pytest.approx(
        sum(layer.macs * layer.nonzero_weights / layer.weights for layer in result.layers), abs=10
    )


def _really_packed(variant: compression.Variant) -> int:
    """Write every code as bits, the smaller of all codes and mask plus nonzero codes."""
    total = 0
    layers = dict(weight_layers(variant.deployed()))
    for name, layer in layers.items():
        weight = layer.weight.detach().flatten(1)
        quantiser = variant.weight_quantisers.get(name)
        if quantiser is None:
            bits = np.unpackbits(weight.numpy().view(np.uint8)).reshape(weight.numel(), 32)
        else:
            scale = quantiser.scale.reshape(-1, 1)
            codes = (weight / scale).round().to(torch.int64)
            assert torch.equal(codes * scale, weight)
            shifted = (codes + 2 ** (quantiser.bits - 1)).numpy().astype(np.uint8).reshape(-1, 1)
            bits = np.unpackbits(shifted, axis=1)[:, 8 - quantiser.bits :]
            total += scale.numel() * 4
        alive = weight.flatten().numpy() != 0
        dense = np.packbits(bits)
        sparse = np.concatenate([np.packbits(alive), np.packbits(bits[alive])])
        total += min(dense.nbytes, sparse.nbytes)
    own = {f"{name}.weight" for name in layers}
    state = variant.deployed().state_dict()
    return total + sum(
        tensor.numpy().nbytes
        for name, tensor in state.items()
        if name not in own and tensor.is_floating_point()
    )


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [{"name": "magnitude", "sparsity": 0.02}],
        [{"name": "magnitude", "sparsity": 0.9}],
        [{"name": "ptq", "bits": 3}],
        [{"name": "ptq", "bits": 5, "skip_first_last": True}],
        [{"name": "magnitude", "sparsity": 0.8}, {"name": "ptq", "bits": 4}],
    ],
    ids=lambda steps: "+".join(step["name"] for step in steps) or "none",
)
def test_packed_bytes_equal_really_packed_bits(base: nn.Module, steps: list[dict]) -> None:
    variant = _variant(base, *steps)
    result = account(base, variant, SHAPE)
    assert result.packed_bytes == _really_packed(variant)
    assert result.packed_bytes <= result.bitmask_bytes
    assert result.compression_rate == result.dense_bytes / result.packed_bytes


def test_csr_bytes_equal_a_scipy_matrix(base: nn.Module) -> None:
    from scipy.sparse import csr_array

    variant = _variant(base, {"name": "magnitude", "sparsity": 0.9})
    result = account(base, variant, SHAPE)
    total = result.rest_bytes
    for _, layer in weight_layers(variant.deployed()):
        matrix = csr_array(layer.weight.detach().flatten(1).numpy())
        total += matrix.data.nbytes + 4 * len(matrix.indices) + 4 * len(matrix.indptr)
    assert result.csr_bytes == total


def test_achieved_numbers_are_counted(base: nn.Module) -> None:
    variant = _variant(base, {"name": "magnitude", "sparsity": 0.8}, {"name": "ptq", "bits": 4})
    result = account(base, variant, SHAPE)
    deployed = variant.deployed()
    zeros = sum(int((layer.weight == 0).sum()) for _, layer in weight_layers(deployed))
    assert result.sparsity == pytest.approx(zeros / result.weights)
    assert result.sparsity >= 0.8
    assert result.nonzero_parameters == sum(int((p != 0).sum()) for p in deployed.parameters())
    assert result.levels <= 15
    assert result.weight_bits == 4
    assert result.requested == "magnitude 80% + ptq w4"


def test_file_bytes_are_those_of_the_file(base: nn.Module) -> None:
    variant = _variant(base, {"name": "magnitude", "sparsity": 0.9})
    result = account(base, variant, SHAPE)
    content = tensor_bytes(variant.deployed())
    assert result.file_bytes == len(content)
    assert len(zlib.decompress(zlib.compress(content, 9))) == len(content)
    assert result.deflated_bytes == len(zlib.compress(content, 9)) < result.file_bytes


def test_every_number_has_a_formula_and_survives_json(base: nn.Module) -> None:
    result = account(base, _variant(base, {"name": "ptq"}), SHAPE)
    fields = set(Accounting.model_fields) | set(LayerAccount.model_fields)
    assert fields - {"requested", "layers", "name", "kind", "shape"} == set(FORMULAS)
    assert Accounting.model_validate(json.loads(result.model_dump_json())) == result
