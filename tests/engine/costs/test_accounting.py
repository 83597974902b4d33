"""Accounting: every number against an independent count."""

from __future__ import annotations

import json
import math
import zlib

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from engine import catalog, compression, models
from engine.catalog import FORMULAS
from engine.compression.layers import weight_layers
from engine.compression.macs import count_macs
from engine.costs.accounting import Accounting, LayerAccount, account
from engine.models.files.tensors import tensor_bytes
from engine.specs.choices import make_step

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
    assert count_macs(base, SHAPE) == {**hand, "": 0}
    result = account(base, _variant(base, {"name": "magnitude", "sparsity": 0.5}), SHAPE)
    assert result.macs == sum(hand.values())  # masks save none
    assert result.nonzero_macs == pytest.approx(
        sum(layer.macs * layer.nonzero_weights / layer.weights for layer in result.layers), abs=10
    )


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        # output pixels x output channels x input channels of a group x kernel
        (nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), (6, 9, 7), 5 * 4 * 8 * 6 * 9),
        (nn.Conv2d(6, 9, (5, 3), groups=3), (6, 9, 8), 5 * 6 * 9 * 2 * 15),
        (nn.Conv2d(6, 6, 3, groups=6, dilation=2), (6, 9, 9), 5 * 5 * 6 * 1 * 9),
        (nn.Sequential(nn.Flatten(), nn.Linear(24, 7)), (2, 3, 4), 24 * 7),
    ],
    ids=("stride", "groups", "depthwise", "linear"),
)
def test_macs_of_each_form_of_layer_equal_the_hand_count(
    layer: nn.Module, shape: tuple[int, int, int], macs: int
) -> None:
    assert sum(count_macs(nn.Sequential(layer), shape).values()) == macs


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
    for layer in result.layers:
        assert layer.entropy_bytes <= layer.packed_bytes <= layer.bitmask_bytes
        assert layer.dense_bytes == 4 * layer.weights


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_entropy_bytes_equal_the_entropy_by_scipy(base: nn.Module, bits: int) -> None:
    from scipy.stats import entropy

    pruned = {"name": "magnitude", "sparsity": 0.7}
    variant = _variant(base, pruned, {"name": "ptq", "bits": bits, "skip_first_last": True})
    result = account(base, variant, SHAPE)
    deployed = dict(weight_layers(variant.deployed()))
    for layer in result.layers:
        weight = deployed[layer.name].weight.detach()
        if layer.weight_bits == 32:
            symbols, values = (weight != 0).numpy(), 32 * layer.nonzero_weights
        else:
            scale, values = variant.weight_quantisers[layer.name].scale, 0
            symbols = (weight / scale).round().numpy()
        counts = np.unique(symbols, return_counts=True)[1]
        expected = layer.weights * entropy(counts, base=2) + values
        assert layer.entropy_bytes == math.ceil(round(expected, 6) / 8)
    assert result.entropy_bytes == result.rest_bytes + sum(x.entropy_bytes for x in result.layers)
    assert result.entropy_bytes < result.packed_bytes


def test_bit_operations_take_the_bits_that_each_layer_reads(base: nn.Module) -> None:
    context = compression.Context(calibration=torch.rand(64, *SHAPE), seed=0)
    steps = (make_step({"name": "ptq", "bits": 4, "activation_bits": 8}),)
    variant = compression.apply(base, steps, context)
    result = account(base, variant, SHAPE)
    bits = {layer.name: layer.activation_bits for layer in result.layers}
    # The first layer reads pixels and the last a mean, neither of which is a code.
    assert {name for name, one in bits.items() if one == 32} == {"0", "8"}
    assert set(bits.values()) == {8, 32}
    assert (result.activation_bits, result.activation_layers) == (8, len(bits) - 2)
    assert result.bit_operations == sum(x.macs * 4 * bits[x.name] for x in result.layers)
    plain = account(base, _variant(base), SHAPE)
    assert plain.bit_operations == plain.macs * 32 * 32
    assert (plain.activation_layers, plain.activation_macs) == (0, 0)


def test_layers_behind_a_linear_bottleneck_read_no_codes() -> None:
    """Only what leaves a ReLU is quantised, so the headline tells how many layers read that."""
    shape = (3, 32, 32)
    model = models.build("mobilenet-v2", shape, 10).eval()
    images = torch.rand(8, *shape, generator=torch.Generator().manual_seed(0))
    step = make_step({"name": "ptq", "bits": 8, "activation_bits": 8})
    context = compression.Context(calibration=images, seed=0)
    result = account(model, compression.apply(model, (step,), context), shape)
    # By hand: per block, conv2 and conv3 stand behind a ReLU; conv1 and a shortcut read what the
    # block before left without one, but the first block what leaves the ReLU of the stem. The
    # stem reads pixels, conv2 behind the blocks a bottleneck, and the last layer a mean.
    expected = {
        layer.name: 8
        if layer.name.endswith((".conv2", ".conv3")) or layer.name.startswith("layers.0.")
        else 32
        for layer in result.layers
    }
    found = {layer.name: layer.activation_bits for layer in result.layers}
    assert found == expected
    codes = [layer for layer in result.layers if expected[layer.name] == 8]
    assert result.activation_bits == 8
    assert result.activation_layers == len(codes) < len(result.layers)
    assert result.activation_macs == sum(layer.macs for layer in codes)
    assert result.bit_operations == sum(x.macs * 8 * expected[x.name] for x in result.layers)


def test_an_older_accounting_can_still_be_read(base: nn.Module) -> None:
    stored = json.loads(account(base, _variant(base), SHAPE).model_dump_json())
    del stored["activation_layers"], stored["activation_macs"]
    assert Accounting.model_validate(stored).activation_layers is None


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
    packed = zlib.compress(content, 6)
    assert zlib.decompress(packed) == content
    assert result.deflated_bytes == len(packed) < result.file_bytes


def test_every_number_has_a_formula_and_survives_json(base: nn.Module) -> None:
    result = account(base, _variant(base, {"name": "ptq"}), SHAPE)
    fields = set(Accounting.model_fields) | set(LayerAccount.model_fields)
    assert fields - {"requested", "layers", "name", "kind", "shape"} == set(FORMULAS) - {"latency"}
    assert Accounting.model_validate(json.loads(result.model_dump_json())) == result


def test_the_projections_of_attention_are_layers_and_its_products_are_not() -> None:
    side, hidden, heads, mlp = 17, 64, 4, 128
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=heads, hidden_dim=hidden,
        mlp_dim=mlp, num_classes=10,
    ).eval()  # fmt: skip
    projections = side * hidden * 4 * hidden  # query, key, value, output
    products = 2 * heads * side * side * (hidden // heads)
    ours = {"name": "magnitude", "sparsity": 0.5, "scope": "layer"}
    result = account(model, _variant(model, ours), (3, 32, 32))
    assert result.other_macs == 2 * products
    blocks = 2 * (projections + side * 2 * hidden * mlp)
    layers = 16 * 3 * 64 * hidden + blocks + hidden * 10
    assert result.macs == layers + result.other_macs
    assert result.nonzero_macs == pytest.approx(layers / 2 + result.other_macs, rel=0.001)
    assert result.bit_operations == result.macs * 32 * 32
    assert all(layer.macs for layer in result.layers)
    assert torch.backends.mha.get_fastpath_enabled()


class _Bare(nn.Module):
    """One product and no layer; or a layer that nobody calls."""

    def __init__(self, *, idle: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(10, 64))
        if idle:
            self.idle = nn.Linear(3, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weight.T


@pytest.mark.parametrize("idle", [False, True])
def test_a_network_without_a_layer_at_work_is_counted(idle: bool) -> None:
    model = _Bare(idle=idle).eval()
    result = account(model, _variant(model), SHAPE)
    assert (result.macs, result.other_macs, result.nonzero_macs) == (640, 640, 640)
    assert (result.weights, result.bare_weights) == (640 + 6 * idle, 640)
    assert (result.sparsity, result.weight_bits) == (0, 32)
    assert result.parameters == 640 + 8 * idle
    assert result.compression_rate == 1
