"""Quantisation-aware training: gradients against their definitions, levels, and accuracy."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import catalog, compression, data, models
from engine.compression.layers import (
    attach,
    bounded_weights,
    modules_of,
    quantised_weights,
    weight_layers,
    weight_of,
)
from engine.compression.methods.qat import LateFrozen, glorot_bound
from engine.compression.parts.base import ActivationQuantiser, BoundedQuantiser
from engine.compression.parts.binary import BinaryQuantiser
from engine.compression.parts.dorefa import UnitClip
from engine.compression.parts.lsq import LsqActivation, LsqQuantiser
from engine.costs.accounting import account
from engine.errors import Cancelled, SpecError
from engine.events import Epoch
from engine.specs.choices import Recipe, make_step
from engine.specs.dataset import DatasetSpec
from engine.training import Checkpoint, Watch, hold_out, objective_of
from engine.training.adversary import accuracy
from engine.training.objectives import Standard
from engine.training.optimisation import optimiser, schedule

BINARY = {"name": "qat", "method": "binary", "bits": 1}
DOREFA = {"name": "qat", "method": "dorefa", "bits": 2}
LSQ = {"name": "qat", "method": "lsq", "bits": 2}
QUICK = {"epochs": 1, "batch_size": 256}
PRUNE = {"name": "magnitude", "sparsity": 0.5}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits() -> data.ImageSet:
    return data.training_images("digits")


@pytest.fixture(scope="module")
def test_images() -> data.ImageSet:
    return data.load(DatasetSpec(name="digits"), seed=0)


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return models.load(catalog.model_card("digits-resnet"))


def recipe(*tables: dict[str, Any]) -> Recipe:
    return tuple(make_step(table) for table in tables)


def made(
    base: nn.Module, digits: data.ImageSet, *tables: dict[str, Any], **context: Any
) -> compression.Variant:
    return compression.apply(base, recipe(*tables), compression.Context(training=digits, **context))


# --- on a network ---

FORMS = {
    "binary": {**BINARY, "first_last": "same"},
    "binary inner": {**BINARY, "first_last": "fp32", "bound": "glorot", "lr_factor": "glorot"},
    "binarynet": {**BINARY, "activation_bits": 1},
    "dorefa": {**DOREFA, "bits": 3, "activation_bits": 2, "first_last": "same"},
    "dorefa as coded": {**DOREFA, "division": "as coded"},
    "dorefa 1": {**DOREFA, "bits": 1, "activation_bits": 4, "first_last": "same"},
    "lsq": {**LSQ, "activation_bits": 3, "first_last": "same"},
    "lsq channel": {**LSQ, "bits": 3, "steps": "channel"},
}


@pytest.fixture(scope="module")
def variants(base: nn.Module, digits: data.ImageSet) -> dict[str, compression.Variant]:
    return {name: made(base, digits, {**form, **QUICK}) for name, form in FORMS.items()}


@pytest.mark.parametrize("name", FORMS)
def test_weights_have_at_most_as_many_levels_as_codes(
    variants: dict[str, compression.Variant], name: str
) -> None:
    variant, form = variants[name], FORMS[name]
    layers = weight_layers(variant.deployed())
    ends = {layers[0][0], layers[-1][0]}
    for path, layer in layers:
        weight = layer.weight.detach()
        rule = form.get("first_last", "8 bit") if path in ends else "same"
        bits = {"same": form["bits"], "8 bit": 8, "fp32": 32}[str(rule)]
        quantiser = variant.weight_quantisers.get(path)
        assert (quantiser is None) == (bits == 32)
        if quantiser is None:
            continue
        assert quantiser.bits == bits
        rows = [weight] if quantiser.numbers == 1 else list(weight)
        assert quantiser.numbers == len(rows)
        for row in rows:
            levels = len(row.unique())
            assert levels == 2 if bits == 1 else levels <= 2**bits
        codes = quantiser.codes(weight)
        assert codes.min() >= quantiser.lowest
        assert codes.max() <= quantiser.lowest + 2**bits - 1
        assert torch.equal(codes, codes.round())
        assert torch.equal(quantiser.decode(codes), weight)


@pytest.mark.parametrize("name", FORMS)
def test_view_and_deployed_model_agree_and_gradients_arrive(
    variants: dict[str, compression.Variant], digits: data.ImageSet, name: str
) -> None:
    deployed, view = variants[name].deployed(), variants[name].attack_view()
    assert compression.check_agreement(deployed, view, digits.images[:200]) <= 1e-4
    leaf = digits.images[:50].clone().requires_grad_()
    loss = nn.functional.cross_entropy(view(leaf), digits.labels[:50])
    gradient = torch.autograd.grad(loss, leaf)[0].flatten(1)
    assert (gradient.abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("name", FORMS)
def test_activations_have_at_most_as_many_levels_as_codes(
    variants: dict[str, compression.Variant], digits: data.ImageSet, name: str
) -> None:
    model, bits = variants[name].deployed(), FORMS[name].get("activation_bits")
    seen: list[Tensor] = []
    for _, part in modules_of(model, ActivationQuantiser):
        part.register_forward_hook(lambda _m, _i, output: seen.append(output))
    for _, part in modules_of(model, UnitClip):
        part.register_forward_hook(lambda _m, _i, output: seen.append(output))
    model(digits.images[:50])
    assert variants[name].activation_bits == bits
    if bits is None and "dorefa" not in name:
        assert not seen
        return
    assert len(seen) == len(list(modules_of(base_relus(), nn.ReLU)))
    if bits is not None:
        assert all(len(output.unique()) <= 2**bits for output in seen)
    if "dorefa" in name:
        assert all(output.min() >= 0 and output.max() <= 1 for output in seen)


def base_relus() -> nn.Module:
    return models.build("digits-resnet", (1, 8, 8), 10)


@pytest.mark.parametrize("name", FORMS)
def test_saved_variant_gives_the_same_bits(
    variants: dict[str, compression.Variant], digits: data.ImageSet, name: str, tmp_path: Path
) -> None:
    variant = variants[name]
    compression.save(variant, catalog.model_card("digits-resnet"), tmp_path)
    again = compression.load(tmp_path)
    with torch.no_grad():
        for one, two in (
            (variant.live, again.live),
            (variant.deployed(), again.deployed()),
            (variant.attack_view(), again.attack_view()),
        ):
            assert torch.equal(one(digits.images[:64]), two(digits.images[:64]))


def test_binary_bounds_hold_after_every_step(base: nn.Module, digits: data.ImageSet) -> None:
    form = {**FORMS["binary inner"], **QUICK, "lr": 1.0}
    live = made(base, digits, form).live
    layers = [layer for _, layer in weight_layers(live)][1:-1]
    originals = [layer.parametrizations.weight.original.detach() for layer in layers]
    bounds = [glorot_bound(layer) for layer in layers]
    assert all(w.abs().max() <= b for w, b in zip(originals, bounds, strict=True))
    assert sum(int((w.abs() == b).sum()) for w, b in zip(originals, bounds, strict=True)) > 100


def test_glorot_bound_of_a_convolution_and_a_linear_layer() -> None:
    assert glorot_bound(nn.Conv2d(16, 32, 3)) == pytest.approx(math.sqrt(1.5 / (144 + 288)))
    assert glorot_bound(nn.Linear(64, 10)) == pytest.approx(math.sqrt(1.5 / 74))


def test_rate_factors_multiply_the_update(base: nn.Module) -> None:
    """As BinaryConnect scales updates: new = old + factor (step)."""
    params = catalog.training.StandardParams(lr=0.1, weight_decay=0, schedule="one-cycle", epochs=2)
    moved = []
    for factors in ({}, {"weight": 3.0}):
        layer = nn.Linear(3, 2)
        with torch.no_grad():
            layer.weight.fill_(1.0)
            layer.bias.fill_(1.0)
        optimizer = optimiser(layer, params, factors)
        course = schedule(optimizer, params, 20)
        for _ in range(5):
            optimizer.zero_grad()
            layer(torch.ones(1, 3)).sum().backward()  # a constant gradient
            optimizer.step()
            course.step()
        moved.append([1 - float(t.detach().mean()) for t in (layer.weight, layer.bias)])
    assert moved[1][0] == pytest.approx(3 * moved[0][0], rel=1e-4)
    assert moved[1][1] == pytest.approx(moved[0][1], rel=1e-4)


def test_the_rate_factor_is_not_undone_by_the_gradient_of_the_levels() -> None:
    """BinaryConnect: a step is lr / H times the gradient of the levels -H and H."""
    layer = nn.Linear(3, 2, bias=False)
    bound = glorot_bound(layer)
    attach(layer, BinaryQuantiser(torch.tensor(bound), bound, 1 / bound))
    model = nn.Sequential(layer)
    ((name, weight, part),) = bounded_weights(model)
    with torch.no_grad():
        weight.copy_(torch.tensor([[0.1, -0.1, 0.2], [-0.2, 0.3, -0.3]]))
    before = weight.detach().clone()
    params = catalog.training.StandardParams(lr=0.01, weight_decay=0, momentum=0)
    optimizer = optimiser(model, params, {name: part.lr_factor})
    layer.weight.sum().backward()  # the gradient of each level is 1
    optimizer.step()
    rate = optimizer.param_groups[0]["lr"]
    moved = before - weight.detach()
    assert torch.allclose(moved, torch.full_like(moved, rate), rtol=1e-4)
    assert rate == pytest.approx(0.01 / bound)


def test_rescaling_keeps_the_mean_size_of_the_linear_layer(
    base: nn.Module, digits: data.ImageSet
) -> None:
    before = [layer.weight.detach().abs().mean() for _, layer in weight_layers(base)]
    for rescale, kept in (("none", []), ("linear", [9]), ("all", list(range(10)))):
        live = copy.deepcopy(base)
        form = {**BINARY, "first_last": "same", "rescale": rescale, **QUICK, "lr": 1e-9}
        live = made(live, digits, form).live
        after = [layer.weight.detach().abs().mean() for _, layer in weight_layers(live)]
        same = [
            i for i, (b, a) in enumerate(zip(before, after, strict=True)) if torch.isclose(b, a)
        ]
        assert same == kept
        assert all(float(a) == 1 for i, a in enumerate(after) if i not in kept)


def test_batch_norm_statistics_freeze_late() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    objective = LateFrozen(Standard(), 2)
    modes = []
    for number in (1, 2, 3):
        model.train()
        objective.begin_epoch(model, number)
        modes.append((model.training, model[1].training))
    assert modes == [(True, True), (True, True), (True, False)]


def test_the_objective_underneath_defends_and_is_remembered(
    base: nn.Module, digits: data.ImageSet
) -> None:
    seen: list[Epoch] = []
    form = {**LSQ, **QUICK, "training": "pgd-at", "eps": 0.1, "attack_steps": 2}
    made(base, digits, form, watch=Watch(seen.append))
    assert [epoch.robust is not None for epoch in seen] == [True]
    params = catalog.find("compressions", "qat").params.model_validate({"training": "trades"})
    inner = objective_of(params.recipe())  # type: ignore[attr-defined]
    assert LateFrozen(inner, 1).threat == inner.threat


@pytest.mark.parametrize("name", ["binary inner", "lsq"])
def test_interrupted_training_goes_on_bit_by_bit(
    base: nn.Module, digits: data.ImageSet, name: str, tmp_path: Path
) -> None:
    """With layers of different rates, trained steps and statistics that freeze."""
    form = {**FORMS[name], "epochs": 3, "batch_size": 256, "freeze_bn": 0.5, "optimizer": "adam"}
    done: list[Epoch] = []

    def checkpoint(stage: str) -> Checkpoint:
        return Checkpoint(tmp_path / f"{stage}.safetensors", "this run")

    watch = Watch(done.append, lambda: len(done) == 2)
    with pytest.raises(Cancelled):
        made(base, digits, form, watch=watch, checkpoint=checkpoint)
    assert [path.name for path in tmp_path.iterdir()] == ["qat.safetensors"]
    again = made(base, digits, form, checkpoint=checkpoint).live
    assert models.fingerprint(again) == models.fingerprint(made(base, digits, form).live)


def test_bf16_training_moves_the_steps(base: nn.Module, digits: data.ImageSet) -> None:
    """Mixed precision trains the steps as fp32 does."""
    form = {**LSQ, "bits": 4, "activation_bits": 4, **QUICK}
    scales = []
    for precision in ("fp32", "bf16"):
        live = made(base, digits, {**form, "precision": precision}).live
        scales.append([float(part.scale.detach()) for _, part in modules_of(live, LsqActivation)])
    start = made(base, digits, {**form, "lr": 1e-9}).live
    first = [float(part.scale.detach()) for _, part in modules_of(start, LsqActivation)]
    for fp32, bf16, before in zip(*scales, first, strict=True):
        assert bf16 != before
        assert bf16 == pytest.approx(fp32, rel=0.05)


def test_accounting_tells_bits_and_levels(variants: dict[str, compression.Variant]) -> None:
    found = {name: account(base_relus(), v, (1, 8, 8)) for name, v in variants.items()}
    binary = found["binary"]
    assert (binary.weight_bits, binary.levels, binary.activation_bits) == (1, 2, 32)
    assert binary.bit_operations == binary.macs * 32
    assert binary.nonzero_weights == binary.weights
    rest = binary.dense_bytes - 4 * binary.weights + 4 * len(binary.layers)
    assert binary.packed_bytes == sum(-(-one.weights // 8) for one in binary.layers) + rest
    net = {one.name: (one.weight_bits, one.activation_bits) for one in found["binarynet"].layers}
    # The first layer reads the image, the last the mean of signs.
    assert net.pop("0") == net.pop("8") == (8, 32)
    assert set(net.values()) == {(1, 1)}
    lsq = found["lsq"]
    assert (lsq.weight_bits, lsq.activation_bits) == (2, 3)
    assert lsq.levels <= 4
    assert found["dorefa as coded"].activation_bits == 32
    sign = found["dorefa 1"]
    assert (sign.weight_bits, sign.levels, sign.activation_bits) == (1, 2, 4)
    assert sign.packed_bytes == binary.packed_bytes


def test_the_scale_of_one_bit_dorefa_is_the_mean_of_the_weights_that_were_kept(
    variants: dict[str, compression.Variant],
) -> None:
    found = [
        (float(part.scale), float(weight.detach().abs().mean()))
        for _, weight, part in quantised_weights(variants["dorefa 1"].live)
    ]
    assert len(found) == 10
    assert [scale for scale, _ in found] == pytest.approx([mean for _, mean in found], rel=1e-6)


def test_short_training_that_hurts_is_not_kept(base: nn.Module, digits: data.ImageSet) -> None:
    _, held = hold_out(digits)
    seen: list[Epoch] = []
    form = {**LSQ, "bits": 8, "epochs": 1, "lr": 0.5, "weight_decay": 1.0}
    variant = made(base, digits, form, watch=Watch(seen.append))
    kept = accuracy(variant.deployed(), held.images, held.labels)
    assert seen[0].clean < 0.9 < kept
    weights = zip(weight_layers(base), weight_layers(variant.live), strict=True)
    for (_, one), (_, two) in weights:
        assert torch.equal(one.weight, two.parametrizations.weight.original)


def test_zeros_of_a_mask_stay_zero(base: nn.Module, digits: data.ImageSet) -> None:
    pruned = made(base, digits, PRUNE).deployed()
    variant = made(base, digits, PRUNE, {**LSQ, **QUICK, "bits": 3, "first_last": "same"})
    for (_, one), (_, two) in zip(
        weight_layers(pruned), weight_layers(variant.deployed()), strict=True
    ):
        assert not two.weight[one.weight == 0].any()
        assert two.weight.any()


@pytest.mark.parametrize("channels", [False, True])
def test_zeros_of_a_mask_do_not_count_in_the_first_steps(
    base: nn.Module, digits: data.ImageSet, channels: bool
) -> None:
    """Else they were so small that they clipped the rest: 2 mean|w| / sqrt(Q_P) of what is left."""
    live = made(base, digits, {**PRUNE, "sparsity": 0.95, "scope": "layer"}).live
    for _, layer in weight_layers(live):
        weight = weight_of(layer)
        part = LsqQuantiser.on(weight, 4, channels=channels)
        rows = weight.flatten(1) if channels else weight.reshape(1, -1)
        for row, scale in zip(rows, part.scale.detach().flatten(), strict=True):
            if (alive := row[row != 0]).numel():
                wanted = 2 * float(alive.abs().mean()) / 7**0.5
                assert float(scale) == pytest.approx(wanted, rel=1e-5)


def test_finetuning_keeps_levels_and_bounds(base: nn.Module, digits: data.ImageSet) -> None:
    tune = {"name": "finetune", "lr": 1.0, **QUICK}
    variant = made(base, digits, {**BINARY, "first_last": "fp32", **QUICK}, tune)
    parts = [part for _, part in modules_of(variant.live, BoundedQuantiser)]
    assert len(parts) == 8
    for path in variant.weight_quantisers:
        layer = variant.live.get_submodule(path)
        assert len(layer.weight.unique()) == 2
        assert layer.parametrizations.weight.original.abs().max() <= 1


def test_a_mask_under_levels_without_zero_is_refused_by_the_step_too(
    base: nn.Module, digits: data.ImageSet
) -> None:
    """A variant can come from elsewhere than a checked recipe."""
    pruned = made(base, digits, PRUNE)
    with pytest.raises(SpecError, match="has no level 0"):
        compression.apply_step(
            pruned,
            make_step({**BINARY, "first_last": "same"}),
            compression.Context(training=digits),
        )


def test_without_training_images_or_relus_it_is_refused(
    base: nn.Module, digits: data.ImageSet
) -> None:
    with pytest.raises(SpecError, match="qat: this dataset has no training images"):
        compression.apply(base, recipe(LSQ), compression.Context())
    smooth = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    with pytest.raises(SpecError, match="with ReLU modules"):
        made(smooth, digits, {**LSQ, "activation_bits": 4})


# --- what it is for ---


@pytest.mark.parametrize(
    "form",
    [
        {**BINARY, "first_last": "same", "lr": 0.03},
        {**DOREFA, "activation_bits": 2, "lr": 0.03},
        {**DOREFA, "bits": 1, "activation_bits": 4, "lr": 0.03},
        {**LSQ, "first_last": "same"},
    ],
    ids=("binary w1", "dorefa w2a2", "dorefa w1a4", "lsq w2"),
)
def test_training_repairs_what_few_bits_broke(
    base: nn.Module, digits: data.ImageSet, form: dict[str, Any]
) -> None:
    """The loss of the training images falls to less than half; to a fifth and less, in fact."""
    losses = []
    for epochs in ({"epochs": 1, "lr": 1e-9}, {"epochs": 2}):
        deployed = made(base, digits, {**form, **epochs}).deployed()
        with torch.no_grad():
            losses.append(
                float(
                    nn.functional.cross_entropy(deployed(digits.images[:500]), digits.labels[:500])
                )
            )
    assert losses[1] < 0.5 * losses[0]
