"""Compression steps: what was asked is what the deployed model has, and gradients stay right."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine import catalog, compression, data, models
from engine.compression.attack_view import fold_batch_norm
from engine.compression.layers import weight_layers
from engine.compression.methods.ptq import UnsignedQuantiser, channel_scales
from engine.compression.parts import ste
from engine.errors import ModelError, SpecError
from engine.models.files.tensors import tensor_bytes
from engine.specs.choices import Recipe, make_step
from engine.specs.dataset import DatasetSpec

RECIPES: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "magnitude 50": [{"name": "magnitude", "sparsity": 0.5}],
    "magnitude 90 layer": [{"name": "magnitude", "sparsity": 0.9, "scope": "layer"}],
    "ptq 8": [{"name": "ptq", "bits": 8}],
    "ptq 2": [{"name": "ptq", "bits": 2}],
    "ptq 4 inner": [{"name": "ptq", "bits": 4, "skip_first_last": True}],
    "ptq 8 a4": [{"name": "ptq", "bits": 8, "activation_bits": 4}],
    "both": [
        {"name": "magnitude", "sparsity": 0.7},
        {"name": "ptq", "bits": 3, "activation_bits": 8},
    ],
    "twice": [{"name": "magnitude", "sparsity": 0.3}, {"name": "magnitude", "sparsity": 0.6}],
}
each_recipe = pytest.mark.parametrize("name", RECIPES)


def recipe(name: str) -> Recipe:
    return tuple(make_step(table) for table in RECIPES[name])


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return models.load(catalog.model_card("digits-resnet"))


@pytest.fixture(scope="module")
def test_images() -> data.ImageSet:
    return data.load(DatasetSpec(name="digits", limit=100), seed=0)


@pytest.fixture(scope="module")
def context() -> compression.Context:
    return compression.Context(data.training_images("digits").images[:256], seed=0)


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [layer.weight.detach() for _, layer in weight_layers(model)]


def test_methods_are_those_of_the_catalogue() -> None:
    assert set(compression.METHODS) == set(catalog.section("compressions")) - {"none"}


# --- magnitude ---


@pytest.mark.parametrize("sparsity", [0.0, 0.333, 0.5, 0.99])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_zeros_are_exactly_as_many_as_asked(base: nn.Module, sparsity: float, scope: str) -> None:
    step = make_step({"name": "magnitude", "sparsity": sparsity, "scope": scope})
    deployed = compression.apply(base, (step,), compression.Context()).deployed()
    sizes = [w.numel() for w in weights(deployed)]
    zeros = [int((w == 0).sum()) for w in weights(deployed)]
    if scope == "layer":
        assert zeros == [round(sparsity * size) for size in sizes]
    else:
        assert sum(zeros) == round(sparsity * sum(sizes))


def test_the_smallest_weights_go_and_the_others_stay(base: nn.Module) -> None:
    variant = compression.apply(base, recipe("magnitude 50"), compression.Context())
    before = torch.cat([w.flatten() for w in weights(base)])
    after = torch.cat([w.flatten() for w in weights(variant.deployed())])
    gone = after == 0
    assert before[gone].abs().max() <= before[~gone].abs().min()
    assert torch.equal(before[~gone], after[~gone])


def test_ties_fall_on_the_earlier_weight_and_no_zero_is_negative() -> None:
    model = nn.Sequential(nn.Linear(4, 2, bias=False))
    model[0].weight.data.fill_(-1.0)
    step = make_step({"name": "magnitude", "sparsity": 0.375})
    weight = compression.apply(model, (step,), compression.Context()).deployed()[0].weight
    assert weight.flatten().tolist() == [0.0] * 3 + [-1.0] * 5
    assert not torch.signbit(weight[weight == 0]).any()


@pytest.mark.parametrize("name", ["magnitude 50", "both"])
def test_mask_survives_training(name: str, base: nn.Module, context: compression.Context) -> None:
    variant = compression.apply(base, recipe(name), context)
    before = [w.clone() for w in weights(variant.deployed())]
    masks = [layer.parametrizations.weight[0].mask for _, layer in weight_layers(variant.live)]
    digits = data.training_images("digits")
    optimizer = torch.optim.SGD(variant.live.parameters(), lr=0.1, momentum=0.9)
    variant.live.train()
    for start in range(0, 640, 64):
        batch = slice(start, start + 64)
        optimizer.zero_grad()
        F.cross_entropy(variant.live(digits.images[batch]), digits.labels[batch]).backward()
        optimizer.step()
    after = weights(variant.deployed())
    assert all((w[~mask] == 0).all() for w, mask in zip(after, masks, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


# --- quantisation ---


def test_straight_through_gradient_is_one_inside_and_at_the_bounds() -> None:
    scale = torch.tensor(0.3)
    bound = 7 * scale  # the deployed level itself; 7 * 0.3 is no short float
    x = torch.stack(
        [-bound * 1.001, -bound, torch.tensor(-0.2), torch.tensor(0.0), bound, bound * 1.001]
    )
    x.requires_grad_(True)
    y = ste.quantise(x, scale, -7, 7)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.tolist() == [0, 1, 1, 1, 1, 0]
    assert torch.equal(y, torch.tensor([-7.0, -7, -1, 0, 7, 7]) * scale)
    naive = (x / scale).round() * scale
    assert torch.autograd.grad(naive.sum(), x)[0].count_nonzero() == 0


def test_relu_outputs_of_zero_and_of_the_largest_code_pass_the_gradient() -> None:
    quantiser = UnsignedQuantiser(torch.tensor(0.1), 4)
    x = torch.tensor([0.0, 0.04, 1.5, 1.6], requires_grad=True)
    (gradient,) = torch.autograd.grad(quantiser(x).sum(), x)
    assert gradient.tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_codes_equal_brute_force_rounding(bits: int) -> None:
    weight = torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(bits))
    scale = channel_scales(weight, bits)
    high = 2 ** (bits - 1) - 1
    levels = torch.arange(-high, high + 1) * scale.reshape(5, 1, 1, 1)
    nearest = (weight[..., None] - levels).abs().argmin(dim=-1) - high
    assert torch.equal(ste.codes(weight, scale, -high, high), nearest.float())


@pytest.mark.parametrize("bits", [2, 4])
def test_no_scale_on_a_fine_grid_rounds_much_better(bits: int) -> None:
    weight = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    weight *= torch.tensor([[0.01], [1.0], [100.0]])  # one scale for all would fit none
    high = 2 ** (bits - 1) - 1

    def error(scale: torch.Tensor) -> torch.Tensor:
        return (ste.codes(weight, scale, -high, high) * scale - weight).square().sum(1)

    widest = weight.abs().amax(1, keepdim=True) / high
    finest = torch.stack([error(widest * s) for s in torch.linspace(0.05, 1.2, 2000)]).amin(0)
    chosen = error(channel_scales(weight, bits))
    assert (chosen <= 1.02 * finest).all()
    assert (chosen < error(widest)).all()


@pytest.mark.parametrize("bits", range(2, 9))
def test_levels_per_channel(base: nn.Module, bits: int) -> None:
    step = make_step({"name": "ptq", "bits": bits})
    deployed = compression.apply(base, (step,), compression.Context()).deployed()
    levels = [len(row.unique()) for w in weights(deployed) for row in w.flatten(1)]
    assert max(levels) <= 2**bits - 1
    assert max(levels) > 2 ** (bits - 1) - 1 or bits == 8


def test_channel_of_zeros_stays_zero() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3))
    model[0].weight.data[0] = 0
    step = make_step({"name": "ptq", "bits": 4})
    weight = compression.apply(model, (step,), compression.Context()).deployed()[0].weight
    assert weight.isfinite().all()
    assert weight[0].count_nonzero() == 0
    assert weight[1].count_nonzero() > 0


def test_skip_first_last_leaves_just_those(base: nn.Module) -> None:
    deployed = compression.apply(base, recipe("ptq 4 inner"), compression.Context()).deployed()
    same = [torch.equal(a, b) for a, b in zip(weights(base), weights(deployed), strict=True)]
    assert same == [True, *[False] * (len(same) - 2), True]


def test_pruned_weights_stay_zero_under_quantisation(
    base: nn.Module, context: compression.Context
) -> None:
    pruned = compression.apply(base, recipe("both")[:1], context).deployed()
    both = compression.apply(base, recipe("both"), context).deployed()
    for before, after in zip(weights(pruned), weights(both), strict=True):
        assert (after[before == 0] == 0).all()
        assert max(len(row.unique()) for row in after.flatten(1)) <= 7


def test_every_relu_is_quantised_to_few_levels(
    base: nn.Module, context: compression.Context, test_images: data.ImageSet
) -> None:
    deployed = compression.apply(base, recipe("ptq 8 a4"), context).deployed()
    found: dict[str, torch.Tensor] = {}
    for name, module in deployed.named_modules():
        if isinstance(module, UnsignedQuantiser):
            module.register_forward_hook(lambda _m, _i, out, name=name: found.update({name: out}))
    deployed(test_images.images)
    assert len(found) == sum(isinstance(m, nn.ReLU) for m in base.modules())
    assert all(8 < len(out.unique()) <= 16 for out in found.values())


def test_quantised_activations_keep_a_useful_input_gradient(
    base: nn.Module, context: compression.Context, test_images: data.ImageSet
) -> None:
    def gradient(model: nn.Module) -> torch.Tensor:
        x = test_images.images.clone().requires_grad_(True)
        loss = F.cross_entropy(model(x), test_images.labels, reduction="sum")
        return torch.autograd.grad(loss, x)[0].flatten(1)

    parent = gradient(compression.apply(base, (), context).attack_view())
    variant = gradient(compression.apply(base, recipe("ptq 8 a4"), context).attack_view())
    assert F.cosine_similarity(parent, variant).median() > 0.7


def test_activations_without_training_images_are_refused(base: nn.Module) -> None:
    with pytest.raises(SpecError, match="activation_bits needs training images"):
        compression.apply(base, recipe("ptq 8 a4"), compression.Context())


@pytest.mark.parametrize("later", ["magnitude", "ptq"])
def test_nothing_follows_quantisation(later: str, base: nn.Module) -> None:
    steps = (make_step({"name": "ptq"}), make_step({"name": later}))
    with pytest.raises(SpecError, match=f"{later} cannot follow ptq"):
        compression.apply(base, steps, compression.Context())


# --- variants ---


@each_recipe
def test_view_agrees_with_deployed(
    name: str, base: nn.Module, context: compression.Context, test_images: data.ImageSet
) -> None:
    variant = compression.apply(base, recipe(name), context)
    deployed, view = variant.deployed(), variant.attack_view()
    noise = torch.rand(test_images.images.shape, generator=torch.Generator().manual_seed(0))
    for images in (test_images.images, noise):
        assert compression.check_agreement(deployed, view, images) <= 1e-5
        with torch.no_grad():
            assert torch.equal(deployed(images), variant.live(images))
    assert not any(p.requires_grad for m in (deployed, view) for p in m.parameters())
    folded = not any(isinstance(m, nn.BatchNorm2d) for m in view.modules())
    assert folded == (variant.activation_bits is None)


def test_agreement_is_measured_in_fp32_whatever_the_caller_computes_in(
    base: nn.Module, test_images: data.ImageSet
) -> None:
    variant = compression.apply(base, (), compression.Context())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        compression.check_agreement(variant.deployed(), variant.attack_view(), test_images.images)


def test_disagreement_is_refused(base: nn.Module, test_images: data.ImageSet) -> None:
    other = copy.deepcopy(base)
    other[-1].bias.data[0] += 0.01
    with pytest.raises(ModelError, match=r"differs from the deployed model by 0\.01"):
        compression.check_agreement(base, other, test_images.images)


def test_a_convolution_read_twice_is_not_folded() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.norm(y) + y

    net = Net().eval()
    net.norm.running_mean.fill_(0.5)
    x = torch.rand(1, 1, 5, 5)
    before = net(x)
    fold_batch_norm(net)
    assert torch.equal(net(x), before)


@each_recipe
def test_base_stays_and_live_survives_copies(
    name: str, base: nn.Module, context: compression.Context, test_images: data.ImageSet
) -> None:
    before = models.fingerprint(base)
    variant = compression.apply(base, recipe(name), context)
    expected = variant.live(test_images.images[:8])  # with gradients: copies must still work
    first = variant.deployed()
    again = copy.deepcopy(variant).deployed()
    assert models.fingerprint(base) == before
    assert models.fingerprint(first) == models.fingerprint(again)
    assert torch.equal(variant.live(test_images.images[:8]), expected)


def test_apply_leaves_the_global_random_state_alone(
    base: nn.Module, context: compression.Context
) -> None:
    before = torch.get_rng_state()
    compression.apply(base, recipe("both"), context).attack_view()
    assert torch.equal(before, torch.get_rng_state())


@each_recipe
def test_saved_variant_gives_the_same_bits(
    name: str,
    base: nn.Module,
    context: compression.Context,
    test_images: data.ImageSet,
    tmp_path: Path,
) -> None:
    variant = compression.apply(base, recipe(name), context)
    compression.save(variant, catalog.model_card("digits-resnet"), tmp_path)
    again = compression.load(tmp_path)
    assert again.recipe == variant.recipe
    for kind in ("live", "deployed", "attack_view"):
        one, two = (getattr(v, kind) for v in (variant, again))
        one, two = (m if isinstance(m, nn.Module) else m() for m in (one, two))
        with torch.no_grad():
            assert torch.equal(one(test_images.images), two(test_images.images))


def _damage(folder: Path, how: str) -> None:
    weights, card = folder / "variant.safetensors", folder / "variant.json"
    content = weights.read_bytes()
    if how == "truncated":
        weights.write_bytes(content[: len(content) // 2])
    elif how == "changed":
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif how == "other":
        weights.write_bytes(tensor_bytes(nn.Linear(2, 2)))
    elif how == "half json":
        card.write_text(card.read_text()[:100])
    elif how == "wrong path":
        card.write_text(card.read_text().replace('"path": "0"', '"path": "77"'))
    else:
        card.unlink()


@pytest.mark.parametrize(
    "how", ["truncated", "changed", "other", "half json", "wrong path", "no json"]
)
def test_damaged_variant_is_refused(how: str, base: nn.Module, tmp_path: Path) -> None:
    variant = compression.apply(base, recipe("magnitude 50"), compression.Context())
    compression.save(variant, catalog.model_card("digits-resnet"), tmp_path)
    _damage(tmp_path, how)
    with pytest.raises(ModelError) as caught:
        compression.load(tmp_path)
    assert caught.value.hint


def test_batch_norm_without_statistics_of_its_own_is_not_merged() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.Flatten(), nn.Linear(144, 3)).eval()
    images = torch.rand(3, 1, 8, 8)
    variant = compression.apply(net, (), compression.Context())
    with torch.no_grad():
        assert torch.allclose(variant.attack_view()(images), net(images), atol=1e-6)
