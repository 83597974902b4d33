"""Quantisation-aware training: gradients against their definitions, levels, and accuracy."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import catalog, compression, data, models
from engine.accounting import account
from engine.compression.binary import BinaryQuantiser, SignActivation
from engine.compression.dorefa import DorefaActivation, DorefaQuantiser, UnitClip
from engine.compression.layers import modules_of, weight_layers
from engine.compression.lsq import LsqActivation, LsqQuantiser, learned_step
from engine.compression.parts import ActivationQuantiser, BoundedQuantiser
from engine.compression.qat import LateFrozen, glorot_bound
from engine.errors import Cancelled, SpecError
from engine.specs import DatasetSpec, Recipe, check_recipe, make_step
from engine.training import Checkpoint, Epoch, Watch, hold_out, objective_of
from engine.training.adversary import accuracy
from engine.training.objectives import Standard
from engine.training.optimisation import optimiser, schedule

BINARY = {"name": "qat", "method": "binary", "bits": 1}
DOREFA = {"name": "qat", "method": "dorefa", "bits": 2}
LSQ = {"name": "qat", "method": "lsq", "bits": 2}
QUICK = {"epochs": 1, "batch_size": 256}
PRUNE = {"name": "magnitude", "sparsity": 0.5}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


def slope(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of the sum of the outputs."""
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(function(leaf).sum(), leaf)[0]


# --- gradients, in float64 ---

POINTS = torch.tensor([-1.5, -1.0, -0.4, -0.0, 0.0, 0.3, 1.0, 1.2], dtype=torch.float64)


def test_binary_weights_are_signs_with_the_gradient_of_the_identity_within_the_bound() -> None:
    part = BinaryQuantiser(torch.tensor(0.25, dtype=torch.float64), bound=1.0)
    assert part(POINTS).tolist() == [-0.25, -0.25, -0.25, 0.25, 0.25, 0.25, 0.25, 0.25]
    assert slope(part, POINTS).tolist() == [0, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0]
    narrow = BinaryQuantiser(torch.tensor(1.0, dtype=torch.float64), bound=0.4)
    assert slope(narrow, POINTS).tolist() == [0, 0, 1, 1, 1, 1, 0, 0]


def test_binary_activations() -> None:
    part = SignActivation()
    assert part(POINTS).tolist() == [-1, -1, -1, 1, 1, 1, 1, 1]
    assert slope(part, POINTS).tolist() == [0, 1, 1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("bits", [2, 3, 8])
@pytest.mark.parametrize("divided", [True, False])
def test_dorefa_weights_are_the_formula_and_their_gradient_that_without_rounding(
    bits: int, divided: bool
) -> None:
    weight = torch.randn(
        3, 4, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    part = DorefaQuantiser(torch.tensor(1.0, dtype=torch.float64), bits, divided=divided)
    n = 2**bits - 1
    largest = max(abs(math.tanh(w)) for w in weight.flatten().tolist()) if divided else 1.0

    def smooth(w: float) -> float:
        return 0.5 * math.tanh(w) / largest + 0.5

    hand = [2 * round(smooth(w) * n) / n - 1 for w in weight.flatten().tolist()]
    assert torch.allclose(part(weight).flatten(), torch.tensor(hand, dtype=torch.float64))

    def unrounded(w: Tensor) -> Tensor:
        squashed = torch.tanh(w)
        return squashed / squashed.abs().max() if divided else squashed

    # Central differences of what is left when rounding is the identity.
    weights = torch.rand(weight.shape, dtype=torch.float64, generator=torch.Generator())
    found = slope(lambda w: part(w) * weights, weight).flatten()
    for place in range(weight.numel()):
        step = torch.zeros_like(weight).flatten()
        step[place] = 1e-6
        step = step.reshape(weight.shape)
        rise = (unrounded(weight + step) - unrounded(weight - step)) * weights
        assert float(found[place]) == pytest.approx(float(rise.sum()) / 2e-6, abs=1e-6)


def test_dorefa_activations() -> None:
    x = torch.tensor([-1.5, -0.6, 0.0, 0.1, 0.2, 0.5, 0.9, 1.0, 3.0], dtype=torch.float64)
    third = 1 / 3
    assert torch.allclose(
        DorefaActivation(2)(x),
        torch.tensor([1, 2 * third, 0, 0, third, 2 * third, 1, 1, 1], dtype=torch.float64),
    )
    clip = UnitClip()
    assert clip(x).tolist() == [1, 0.6, 0, 0.1, 0.2, 0.5, 0.9, 1, 1]
    for part in (clip, DorefaActivation(1), DorefaActivation(2)):
        assert slope(part, x).tolist() == [0, -1, 0, 1, 1, 1, 1, 1, 0]


def test_learned_steps_against_the_equations_of_the_paper() -> None:
    x = torch.tensor([-1.7, -1.0, -0.6, 0.2, 0.3, 0.5, 0.9], dtype=torch.float64)
    step = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    low, high, factor = -2, 1, 0.125
    leaf = x.clone().requires_grad_()
    weights = torch.arange(1.0, 8.0, dtype=torch.float64)
    found = learned_step(leaf, step, low, high, factor)
    of_x, of_step = torch.autograd.grad((found * weights).sum(), (leaf, step))
    values, slopes, steps = [], [], []
    for v in x.tolist():
        ratio = v / 0.5
        values.append(max(low, min(high, round(ratio))) * 0.5)  # equations 1 and 2
        slopes.append(1.0 if low < ratio < high else 0.0)  # equation 5
        inside = round(ratio) - ratio
        steps.append(inside if low < ratio < high else low if ratio <= low else high)  # equation 3
    assert found.tolist() == values
    assert of_x.tolist() == [s * w for s, w in zip(slopes, weights.tolist(), strict=True)]
    hand = factor * sum(s * w for s, w in zip(steps, weights.tolist(), strict=True))
    assert float(of_step) == pytest.approx(hand, abs=1e-12)


def test_scales_of_the_step_gradient_and_first_steps_are_those_of_the_paper() -> None:
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    high = 3
    for channels, shared in ((False, 48), (True, 12)):
        part = LsqQuantiser.on(weight, 3, channels=channels)
        means = weight.abs().mean(dim=(1, 2, 3), keepdim=True) if channels else weight.abs().mean()
        assert torch.allclose(part.scale, 2 * means / math.sqrt(high))
        huge = torch.full_like(weight, 1e3)
        (found,) = torch.autograd.grad(part(huge).sum(), part.scale)
        # Every weight is at the highest code, so each adds Q_P.
        assert torch.allclose(
            found, torch.full_like(found, shared * high / math.sqrt(shared * high))
        )
    images = torch.full((5, 2, 3, 3), 1e3)
    activation = LsqActivation(torch.tensor(0.1), 2)
    (found,) = torch.autograd.grad(activation(images).sum(), activation.scale)
    assert float(found) == pytest.approx(5 * 18 * 3 / math.sqrt(18 * 3))


def test_a_layer_of_zeros_stays_finite() -> None:
    weight = torch.zeros(2, 3)
    for part in (
        LsqQuantiser.on(weight, 2, channels=True),
        DorefaQuantiser(torch.tensor(1.0), 2, divided=True),
    ):
        assert part(weight).isfinite().all()
        assert slope(part, weight).isfinite().all()
    assert not LsqQuantiser.on(weight, 2, channels=True)(weight).any()


@pytest.mark.parametrize("part", [SignActivation(), UnitClip(), DorefaActivation(2)])
def test_little_gradient_is_lost_on_what_leaves_a_relu(part: nn.Module) -> None:
    x = torch.rand(10_000, generator=torch.Generator().manual_seed(0)) - 0.3
    after = torch.relu(x)
    lost = (slope(part, after) == 0) & (after > 0)
    assert lost.float().mean() < 0.05


# --- on a network ---

FORMS = {
    "binary": {**BINARY, "first_last": "same"},
    "binary inner": {**BINARY, "first_last": "fp32", "bound": "glorot", "lr_factor": "glorot"},
    "binarynet": {**BINARY, "activation_bits": 1},
    "dorefa": {**DOREFA, "bits": 3, "activation_bits": 2, "first_last": "same"},
    "dorefa as coded": {**DOREFA, "division": "as coded"},
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


def test_finetuning_keeps_levels_and_bounds(base: nn.Module, digits: data.ImageSet) -> None:
    tune = {"name": "finetune", "lr": 1.0, **QUICK}
    variant = made(base, digits, {**BINARY, "first_last": "fp32", **QUICK}, tune)
    parts = [part for _, part in modules_of(variant.live, BoundedQuantiser)]
    assert len(parts) == 8
    for path in variant.weight_quantisers:
        layer = variant.live.get_submodule(path)
        assert len(layer.weight.unique()) == 2
        assert layer.parametrizations.weight.original.abs().max() <= 1


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ([PRUNE, BINARY], "levels have no 0"),
        ([PRUNE, DOREFA], "levels have no 0"),
        ([PRUNE, {"name": "finetune"}, BINARY], "cannot follow magnitude"),
        ([{"name": "ptq"}, LSQ], "qat cannot follow ptq, because the weights have their levels"),
        ([LSQ, {"name": "ptq"}], "ptq cannot follow qat, because the weights have their levels"),
        ([LSQ, LSQ], "Quantise once"),
        ([LSQ, PRUNE], "magnitude cannot follow qat, because the weights would leave"),
        ([LSQ, {"name": "finetune"}, PRUNE], "Put magnitude before qat"),
    ],
)
def test_nonsense_is_refused_with_the_reason(tables: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        check_recipe(recipe(*tables))


def test_sense_is_not_refused() -> None:
    tune = {"name": "finetune"}
    for tables in ([PRUNE, LSQ], [PRUNE, tune, LSQ, tune], [BINARY, tune], [DOREFA]):
        check_recipe(recipe(*tables))


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


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"method": "binary", "bits": 2}, "binary takes 1 bit, not bits = 2"),
        ({"method": "lsq", "bits": 1}, "lsq takes 2 to 8 bits, not bits = 1"),
        ({"method": "dorefa", "bits": 9}, "less than or equal to 8"),
        ({**BINARY, "activation_bits": 2}, "activation_bits none or 1"),
    ],
)
def test_impossible_parameters_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        make_step({"name": "qat", **changes})


def test_labels() -> None:
    def label(**changes: Any) -> str:
        return make_step({"name": "qat", **changes}).label

    assert label(method="binary", bits=1) == "qat binary w1"
    assert label(method="dorefa", bits=2, activation_bits=2) == "qat dorefa w2a2"
    assert label(bits=3) == "qat lsq w3"
    assert label(bits=3, steps="channel", epochs=3) == "qat lsq w3 steps=channel standard 3ep"
    assert label(training="trades", eps=0.1).startswith("qat lsq w4 trades 10ep 0.1")


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
        {**BINARY, "first_last": "same", "epochs": 4, "lr": 0.03},
        {**DOREFA, "activation_bits": 2, "epochs": 4, "lr": 0.03},
        {**LSQ, "first_last": "same", "epochs": 4},
    ],
    ids=("binary w1", "dorefa w2a2", "lsq w2"),
)
def test_one_and_two_bits_stay_above_ninety_percent(
    base: nn.Module, digits: data.ImageSet, test_images: data.ImageSet, form: dict[str, Any]
) -> None:
    deployed = made(base, digits, form).deployed()
    assert accuracy(deployed, test_images.images, test_images.labels) > 0.9
