"""Channel pruning: smaller networks that work, count right, and come back from their files."""

from __future__ import annotations

import copy
import gc
import json
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine import catalog, compression, data, models
from engine.catalog.compressions.pruning import ChannelParams
from engine.compression.layers import bake, on_weight, weight_layers
from engine.compression.macs import count_macs
from engine.compression.methods.channel import without_channels
from engine.compression.parts.mask import Mask
from engine.costs.accounting import account
from engine.errors import ModelError, SpecError
from engine.models.files.tensors import parsed, shapes_of
from engine.models.reshape import fit_shapes
from engine.specs.choices import make_step
from tests.helpers.studies import small_study

Table = dict[str, Any]

SHAPES: dict[str, tuple[int, int, int]] = {
    "digits-resnet": (1, 8, 8),
    "resnet-18": (3, 32, 32),
    "preact-resnet-18": (3, 32, 32),
    "wrn-28-4": (3, 32, 32),
    "mobilenet-v2": (3, 32, 32),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return models.load(catalog.model_card("digits-resnet-at"))


@pytest.fixture(scope="module")
def digits() -> data.ImageSet:
    all_digits = data.training_images("digits")
    few = {name: getattr(all_digits, name)[:160] for name in ("images", "labels", "indices")}
    return replace(all_digits, **few)


def network(family: str) -> nn.Module:
    """With fresh weights, but BatchNorm that has seen images, so that its statistics count."""
    model = models.build(family, SHAPES[family], 10)
    model(images(family))
    return model.eval()


def images(family: str, count: int = 4) -> torch.Tensor:
    return torch.rand(count, *SHAPES[family], generator=torch.Generator().manual_seed(0))


def card(family: str) -> catalog.ModelCard:
    bundled = catalog.model_card("digits-resnet-at")
    return bundled.model_copy(update={"architecture": family, "shape": SHAPES[family]})


def apply(model: nn.Module, *tables: Table, **context: Any) -> compression.Variant:
    steps = tuple(map(make_step, tables))
    return compression.apply(model, steps, compression.Context(**context))


# --- what stays ---


@pytest.mark.parametrize(
    ("family", "target"),
    [
        ("digits-resnet", "macs"),
        ("digits-resnet", "parameters"),
        ("resnet-18", "parameters"),
        ("preact-resnet-18", "parameters"),
        ("wrn-28-4", "macs"),
        ("mobilenet-v2", "macs"),
    ],
)
def test_the_target_is_met_and_the_rest_of_the_machinery_agrees(
    family: str, target: str, tmp_path: Path
) -> None:
    """One pruned network of each family: its size, its twin, its counts, and its files."""
    model, keep, shape = network(family), 0.4, SHAPES[family]
    variant = apply(model, {"name": "channel", "target": target, "keep": keep}, shape=shape)
    found = account(model, variant, shape)
    whole = account(model, compression.apply(model, (), compression.Context()), shape)
    reached = {
        "macs": found.macs / whole.macs,
        "parameters": found.parameters / whole.parameters,
    }
    assert reached[target] == pytest.approx(keep, abs=0.05)
    assert found.layers[-1].shape[0] == 10
    assert found.macs == by_hand(variant.deployed(), images(family, 1))
    assert found.dense_bytes == whole.dense_bytes
    assert found.compression_rate == pytest.approx(whole.dense_bytes / found.packed_bytes)
    assert found.packed_bytes == 4 * numbers(variant.deployed())
    compression.check_agreement(variant.deployed(), variant.attack_view(), images(family))

    compression.save(variant, card(family), tmp_path)
    again = compression.load(tmp_path)
    assert models.fingerprint(again.live) == models.fingerprint(variant.live)
    with torch.no_grad():
        for one, two in (
            (variant.deployed(), again.deployed()),
            (variant.attack_view(), again.attack_view()),
        ):
            assert torch.equal(one(images(family)), two(images(family)))
    assert account(model, again, shape) == found


def by_hand(model: nn.Module, image: torch.Tensor) -> int:
    """MACs from the shapes that pass: outputs times inputs of each output."""
    total: list[int] = []

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        total.append(output.numel() * layer.weight[0].numel())

    for _, layer in weight_layers(model):
        layer.register_forward_hook(count)
    with torch.no_grad():
        model(image)
    return sum(total)


def numbers(model: nn.Module) -> int:
    return sum(t.numel() for t in model.state_dict().values() if t.is_floating_point())


def test_layers_of_the_digits_network_by_hand(base: nn.Module) -> None:
    """Half of all channels: parameters and MACs counted on paper."""
    half = without_channels(base, (1, 8, 8), 0.5, ChannelParams())
    widths = (8, 16, 32)
    convolutions = [
        9 * 1 * 8,
        *(9 * 8 * 8, 9 * 8 * 8),
        *(9 * 8 * 16, 9 * 16 * 16, 8 * 16),
        *(9 * 16 * 32, 9 * 32 * 32, 16 * 32),
    ]
    sides = [8, 8, 8, 4, 4, 4, 2, 2, 2]
    norms = 2 * (3 * widths[0] + 3 * widths[1] + 3 * widths[2])
    assert models.count_parameters(half) == sum(convolutions) + norms + 32 * 10 + 10
    macs = sum(n * side**2 for n, side in zip(convolutions, sides, strict=True)) + 320
    assert sum(count_macs(half, (1, 8, 8)).values()) == macs


def test_the_weakest_channels_go() -> None:
    """Two convolutions in a row: the channel between them counts in both."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 1, bias=False),
        nn.Conv2d(4, 2, 1, bias=False),
        nn.Flatten(),
        nn.Linear(2 * 64, 3),
    )
    model[0].weight.data.copy_(torch.tensor([3.0, 1.0, 2.0, 4.0]).reshape(4, 1, 1, 1))
    model[1].weight.data.copy_(torch.tensor([[3.0, 1, 2, 4]] * 2).reshape(2, 4, 1, 1))
    for criterion in ("l1", "l2"):
        params = ChannelParams.model_validate({"criterion": criterion})
        found = without_channels(model, (1, 8, 8), 0.5, params)
        assert found[0].weight.flatten().tolist() == [3.0, 4.0]
        assert found[1].weight.flatten().tolist() == [3.0, 4.0]


def test_one_network_after_another_does_not_disturb(base: nn.Module) -> None:
    """Groups of a depthwise network must not reach the next one."""
    before = models.fingerprint(without_channels(base, (1, 8, 8), 0.5, ChannelParams()))
    without_channels(network("mobilenet-v2"), (3, 32, 32), 0.5, ChannelParams())
    after = models.fingerprint(without_channels(base, (1, 8, 8), 0.5, ChannelParams()))
    assert before == after


def test_a_network_that_was_tried_goes_at_once(base: nn.Module) -> None:
    """Many shares are tried, and of a large network memory holds but a few."""
    gc.collect()
    gc.disable()
    try:
        smaller = without_channels(base, (1, 8, 8), 0.5, ChannelParams(keep=0.5))
        gone = weakref.ref(next(smaller.parameters()))
        del smaller
        assert gone() is None
    finally:
        gc.enable()


def test_the_base_and_the_random_state_stay(base: nn.Module) -> None:
    before, state = models.fingerprint(base), torch.get_rng_state()
    variant = apply(base, {"name": "channel"}, shape=(1, 8, 8))
    assert models.fingerprint(base) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.requires_grad for p in variant.live.parameters())


def test_channels_come_in_multiples(base: nn.Module) -> None:
    table = {"name": "channel", "round_to": 4, "keep": 0.55}
    layers = apply(base, table, shape=(1, 8, 8)).live.modules()
    widths = {layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)}
    assert all(width % 4 == 0 for width in widths)
    assert max(widths) < 64


# --- refusals ---


def test_what_cannot_be_reached_is_refused_with_the_nearest(base: nn.Module) -> None:
    table = {"name": "channel", "round_to": 16, "keep": 0.75}
    with pytest.raises(SpecError, match=r"nearest to keep = 0.75 of the macs is 0.\d+"):
        apply(base, table, shape=(1, 8, 8))


def test_nothing_removed_is_an_error(base: nn.Module) -> None:
    with pytest.raises(SpecError, match="nothing can be removed in multiples of round_to = 256"):
        apply(base, {"name": "channel", "round_to": 256, "keep": 0.999}, shape=(1, 8, 8))


def test_unknown_images_are_refused(base: nn.Module) -> None:
    with pytest.raises(SpecError, match="the shape of an image is not known"):
        apply(base, {"name": "channel"})


@pytest.mark.parametrize(
    "first",
    [
        {"name": "magnitude"},
        {"name": "filter"},
        {"name": "nm-sparsity", "indivisible": "dense"},
        {"name": "hydra"},
        {"name": "rap-admm"},
        {"name": "ptq"},
    ],
)
def test_it_cannot_follow_masks_or_quantisers(first: Table) -> None:
    with pytest.raises(SpecError, match=f"channel cannot follow {first['name']}"):
        small_study(compression=[{"steps": [first, {"name": "finetune"}, {"name": "channel"}]}])


def test_a_model_that_carries_levels_is_refused_too(base: nn.Module) -> None:
    quantised = apply(base, {"name": "ptq"}).live
    with pytest.raises(SpecError, match="channel: quantisers hang on the weights already"):
        apply(quantised, {"name": "channel"}, shape=(1, 8, 8))


def test_a_model_that_carries_masks_keeps_them_on_what_is_left(base: nn.Module) -> None:
    masked = apply(base, {"name": "magnitude", "sparsity": 0.5, "scope": "layer"}).live
    plain = copy.deepcopy(masked)
    bake(plain)
    table = {"name": "channel", "keep": 0.6}
    found = apply(masked, table, shape=(1, 8, 8))
    expected = apply(plain, table, shape=(1, 8, 8))
    assert models.fingerprint(found.deployed()) == models.fingerprint(expected.deployed())
    for _, layer in weight_layers(found.live):
        (part,) = on_weight(layer)
        assert isinstance(part, Mask)
        assert torch.equal(part.mask, layer.weight != 0)


# --- with other steps ---


def test_masks_quantisers_and_training_work_on_what_is_left(
    base: nn.Module, digits: data.ImageSet, tmp_path: Path
) -> None:
    tables: list[Table] = [
        {"name": "channel", "keep": 0.6},
        {"name": "finetune", "epochs": 1},
        {"name": "channel", "keep": 0.7},
        {"name": "hydra", "density": 0.3, "prune_epochs": 1, "finetune_epochs": 1, "eps": 0.1},
        {"name": "ptq", "bits": 4, "activation_bits": 8},
    ]
    variant = apply(base, *tables, training=digits, calibration=digits.images[:64])
    reached = account(base, variant, (1, 8, 8)).macs / sum(count_macs(base, (1, 8, 8)).values())
    assert reached == pytest.approx(0.42, abs=0.06)
    compression.check_agreement(variant.deployed(), variant.attack_view(), digits.images[:50])
    compression.save(variant, catalog.model_card("digits-resnet-at"), tmp_path)
    again = compression.load(tmp_path)
    with torch.no_grad():
        found = again.deployed()(digits.images[:50])
        assert torch.equal(found, variant.deployed()(digits.images[:50]))


# --- shapes ---


def test_sizes_are_taken_over_and_nothing_else(base: nn.Module) -> None:
    fresh = models.build("digits-resnet", (1, 8, 8), 10)
    before = models.fingerprint(fresh)
    fit_shapes(fresh, {name: tuple(t.shape) for name, t in fresh.state_dict().items()})
    assert models.fingerprint(fresh) == before
    half = without_channels(base, (1, 8, 8), 0.5, ChannelParams())
    fit_shapes(fresh, {name: tuple(t.shape) for name, t in half.state_dict().items()})
    for name, module in half.named_modules():
        other = fresh.get_submodule(name)
        if not list(module.children()):
            assert repr(other) == repr(module)  # in and out channels, groups, features
    assert all(p.requires_grad for p in fresh.parameters())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 8, 3), None),
        (nn.Conv2d(4, 8, 3), (8, 4, 5, 5)),
        (nn.Conv2d(4, 8, 3), (8, 4, 3)),
        (nn.Conv2d(4, 8, 3), (0, 4, 3, 3)),
        (nn.Conv2d(4, 8, 3, groups=2), (7, 2, 3, 3)),
        (nn.Conv2d(4, 4, 3, groups=4), (4, 2, 3, 3)),
        (nn.Linear(4, 2), (2, 4, 1)),
    ],
)
def test_shapes_that_no_layer_can_take_are_refused(
    layer: nn.Module, shape: tuple[int, ...] | None
) -> None:
    shapes = {} if shape is None else {"0.weight": shape}
    with pytest.raises(ModelError, match="do not fit the architecture at '0'"):
        fit_shapes(nn.Sequential(layer), shapes)


def test_only_a_variant_of_this_step_may_be_smaller(base: nn.Module, tmp_path: Path) -> None:
    variant = apply(base, {"name": "channel"}, shape=(1, 8, 8))
    compression.save(variant, catalog.model_card("digits-resnet-at"), tmp_path)
    told = json.loads((tmp_path / "variant.json").read_text())
    (tmp_path / "variant.json").write_text(json.dumps(told | {"recipe": []}))
    with pytest.raises(ModelError, match="does not fit the architecture"):
        compression.load(tmp_path)


def test_a_truncated_file_is_refused(base: nn.Module, tmp_path: Path) -> None:
    variant = apply(base, {"name": "channel"}, shape=(1, 8, 8))
    compression.save(variant, catalog.model_card("digits-resnet-at"), tmp_path)
    tensors = tmp_path / "variant.safetensors"
    shapes = shapes_of(parsed(tensors.read_bytes(), "variant"))
    assert shapes["0.weight"] == tuple(variant.live[0].weight.shape)  # type: ignore[index]
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(ModelError, match="truncated"):
        compression.load(tmp_path)


def test_labels() -> None:
    assert make_step({"name": "channel"}).label == "channel 50% MACs"
    table = {"name": "channel", "target": "parameters", "keep": 0.25, "criterion": "l1"}
    assert make_step({**table, "round_to": 8}).label == "channel 25% parameters L1 round 8"


def test_maps_of_many_places_before_a_linear_layer_are_followed() -> None:
    # Going back from 16,384 inputs to 64 channels gives fewer places, not more.
    model = nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 256, 3)
    )
    smaller = without_channels(model.eval(), (1, 16, 16), 0.5, ChannelParams(keep=0.5))
    assert [tuple(layer.weight.shape) for _, layer in weight_layers(smaller)] == [
        (32, 1, 3, 3),
        (3, 32 * 256),
    ]
