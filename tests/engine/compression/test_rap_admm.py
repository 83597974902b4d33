"""RAP-ADMM: its projections, its penalty and dual variable by hand, both trainings, resume."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from engine import catalog, data, models
from engine.compression.layers import on_weight, weight_layers
from engine.compression.methods import rap_admm
from engine.compression.methods.admm import Admm, Penalty
from engine.compression.methods.patterns import Pattern, pattern_mask, project
from engine.compression.methods.rap_admm import periodic, two_drops, warmed_up
from engine.compression.parts.mask import Mask
from engine.errors import SpecError, TrainingError
from engine.events import Epoch
from engine.specs.choices import make_step
from engine.training import Watch, hold_out
from engine.training.examples import batches_in
from engine.training.objectives import InnerSearch, PgdAt
from engine.training.softening import Softening
from tests.helpers.studies import small_study
from tests.helpers.trained_steps import (
    Table,
    apply,
    assert_ends_the_same,
    assert_views_and_files_agree,
)

pytestmark = pytest.mark.usefixtures("one_thread")
PATTERNS: tuple[Pattern, ...] = ("irregular", "filter", "column")

QUICK: Table = {
    "name": "rap-admm",
    "admm_epochs": 2,
    "admm_interval": 1,
    "retrain_epochs": 1,
    "attack_steps": 1,
    "eps": 0.1,
    "batch_size": 64,
}


@pytest.fixture
def base() -> nn.Module:
    return models.load(catalog.model_card("digits-resnet-at"))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# --- projections ---


def percentile(sizes: list[float], share: float) -> float:
    """Linear between the neighbours in sorted order."""
    ranked = sorted(sizes)
    place = share * (len(ranked) - 1)
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (place - low) * (ranked[high] - ranked[low])


def by_hand(
    weight: NDArray[np.float64], pattern: str, ratio: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The projected weight and the mask, group by group."""
    rows = weight.reshape(len(weight), -1)
    places: list[Any] = {
        "irregular": list(np.ndindex(*rows.shape)),
        "filter": [(row, slice(None)) for row in range(rows.shape[0])],
        "column": [(slice(None), column) for column in range(rows.shape[1])],
    }[pattern]
    sizes = [float(np.sqrt(np.sum(rows[place] ** 2))) for place in places]
    threshold = percentile(sizes, ratio)
    projected, mask = rows.copy(), np.zeros(rows.shape, bool)
    for place, size in zip(places, sizes, strict=True):
        if size < threshold or (pattern == "filter" and size == threshold):
            projected[place] = 0
        mask[place] = size > threshold
    return projected.reshape(weight.shape), mask.reshape(weight.shape)


def weights() -> dict[str, NDArray[np.float64]]:
    """Without ties; with many; with one exactly at the threshold; all alike."""
    random = np.random.default_rng(0)
    ladder = np.arange(1, 10.0)  # the half is exactly the fifth of nine
    return {
        "plain": random.normal(size=(6, 3, 3, 3)),
        "ties": random.integers(-2, 3, size=(6, 3, 3, 3)).astype(float),
        "exact irregular": ladder.reshape(3, 3, 1, 1) * np.resize([1, -1], (3, 3, 1, 1)),
        "exact filter": ladder.reshape(9, 1, 1, 1) * np.ones((9, 4, 1, 1)),
        "exact column": ladder.reshape(1, 9, 1, 1) * np.ones((4, 9, 1, 1)),
        "alike": np.full((4, 2, 3, 3), -0.5),
        "depthwise": random.normal(size=(8, 1, 3, 3)),
        "zeros": random.normal(size=(4, 3, 3, 3)) * (random.random((4, 3, 3, 3)) < 0.05),
    }


@pytest.mark.parametrize(("pattern", "name"), list(product(PATTERNS, weights())))
@pytest.mark.parametrize("ratio", [0.5, 0.875, 1 - 1 / 12, 0.9375])
def test_projections_match_a_reference(pattern: Pattern, name: str, ratio: float) -> None:
    weight = weights()[name]
    tensor = torch.from_numpy(weight.copy())
    projected, mask = by_hand(weight, pattern, ratio)
    assert np.array_equal(project(tensor, pattern, ratio).numpy(), projected)
    assert np.array_equal(pattern_mask(tensor, pattern, ratio).numpy(), mask)
    assert np.array_equal(tensor.numpy(), weight), "the weight itself was changed"
    single = torch.from_numpy(weight.astype(np.float32))
    projected, _ = by_hand(weight.astype(np.float32).astype(np.float64), pattern, ratio)
    assert np.array_equal(project(single, pattern, ratio).double().numpy(), projected)


def test_what_equals_the_threshold_stays_but_a_filter_goes() -> None:
    cases = weights()
    for pattern, survivors in (("irregular", 5), ("column", 5), ("filter", 4)):
        weight = torch.from_numpy(cases[f"exact {pattern}"].copy())
        projected = project(weight, pattern, 0.5)  # type: ignore[arg-type]
        mask = pattern_mask(weight, pattern, 0.5)  # type: ignore[arg-type]
        group = 1 if pattern == "irregular" else 4
        assert int(projected.count_nonzero()) == survivors * group
        assert int(mask.sum()) == 4 * group


# --- the objective ---


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 2, bias=False).double()
        self.conv.weight.data.copy_(draw(3, 1, 2, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(x).flatten(1)
        return out


def objective(**changes: Any) -> Admm:
    penalty = Penalty(
        layers=("conv",),
        project=partial(project, pattern="irregular", ratio=0.5),
        **{"interval": 2, "rho": 0.25, **changes},
    )
    return Admm(PgdAt(InnerSearch(eps=0.1, steps=2)), penalty)


@pytest.mark.parametrize("detached", [True, False])
def test_penalty_target_and_dual_by_hand(detached: bool) -> None:
    """Five epochs of two batches with the weight moved by hand in between; updates at 1, 3, 5."""
    net, admm = _Net(), objective(detached=detached)
    x, labels = draw(4, 1, 2, 2).sigmoid(), torch.tensor([0, 2, 1, 1])
    weight = draw(3, 1, 2, 2)
    target = dual = np.zeros(weight.shape)
    rho, updates = 0.25, 0
    for epoch in range(5):
        admm.begin_epoch(net, epoch + 1)
        for batch in range(2):
            now = net.conv.weight.detach().numpy().copy()
            if batch == 0 and epoch % 2 == 0:
                if epoch == 0:
                    target = by_hand(now, "irregular", 0.5)[0]
                else:
                    rho, updates = rho * 1.3, updates + 1
                    target = by_hand(now + dual, "irregular", 0.5)[0]
                    dual = dual + now - target
            generator = torch.Generator().manual_seed(0)
            examples = admm.threat.pgd(net, x, labels, torch.Generator().manual_seed(0))
            net.zero_grad()
            loss = admm.loss(net, x, labels, generator)
            loss.backward()
            times = 1 if detached else 1 + updates
            away = now - target + dual
            z = net(examples)
            cross = F.cross_entropy(z, labels)
            (plain,) = torch.autograd.grad(cross, net.conv.weight)
            expected = cross.item() + times * rho / 2 * (away**2).sum()
            assert loss.item() == pytest.approx(expected, rel=1e-12)
            gradient = plain.numpy() + times * rho * away
            assert np.allclose(net.conv.weight.grad.numpy(), gradient, atol=1e-12)
            net.conv.weight.data += 0.3 * draw(3, 1, 2, 2, seed=10 * epoch + batch)
    assert updates == admm.updates == 2


def test_as_coded_is_what_a_dual_with_gradient_gives() -> None:
    """The published code adds the weight itself to U, so that gradient reaches it once more."""
    net, admm = _Net(), objective(detached=False)
    x, labels = draw(2, 1, 2, 2).sigmoid(), torch.tensor([0, 1])
    live_dual = torch.zeros_like(net.conv.weight)
    for number in (1, 3, 5):  # the weight stays, as within one backward pass
        admm.begin_epoch(net, number)
        admm.loss(net, x, labels, torch.Generator().manual_seed(0))
        if number > 1:
            target = project((net.conv.weight + live_dual).detach(), "irregular", 0.5)
            live_dual = live_dual + net.conv.weight - target
    away = net.conv.weight - admm.targets["conv"] + live_dual
    (coded,) = torch.autograd.grad(admm.rho / 2 * away.square().sum(), net.conv.weight)
    (found,) = torch.autograd.grad(admm.penalty(net), net.conv.weight)
    assert torch.allclose(found, coded, atol=1e-12)


def test_state_takes_everything_along() -> None:
    net, admm = _Net(), objective()
    x, labels = draw(2, 1, 2, 2).sigmoid(), torch.tensor([0, 1])
    for number in (1, 2, 3):
        admm.begin_epoch(net, number)
        admm.loss(net, x, labels, torch.Generator().manual_seed(0))
    other = objective()
    other.restore(admm.state())
    assert (other.rho, other.updates) == (admm.rho, admm.updates) == (0.25 * 1.3, 1)
    for number in (4, 5):
        for one in (admm, other):
            one.begin_epoch(net, number)
        first, second = (
            one.loss(net, x, labels, torch.Generator().manual_seed(0)) for one in (admm, other)
        )
        assert first.item() == second.item()
        assert torch.equal(admm.duals["conv"], other.duals["conv"])


# --- courses ---


def test_published_courses_of_the_learning_rate() -> None:
    course = periodic(20)
    factors = [course(epoch + 0.5) for epoch in range(40)]
    assert factors == pytest.approx(([1] * 7 + [0.1] * 7 + [0.01] * 6) * 2)
    assert periodic(1)(3.5) == 1
    assert [periodic(3)(e) for e in (0, 1, 2, 3)] == pytest.approx([1, 0.1, 0.01, 1])
    assert [two_drops(200)(e) for e in (0, 79.9, 80, 149.9, 150, 199)] == [
        1,
        1,
        0.1,
        0.1,
        0.01,
        0.01,
    ]


def test_a_warm_up_rises_evenly_and_delays_what_follows() -> None:
    course = warmed_up(two_drops(10), 2, 0.1)
    assert [course(behind) for behind in (0, 0.5, 1, 1.5)] == pytest.approx(
        [0.1, 0.325, 0.55, 0.775]
    )
    assert [course(behind) for behind in (2, 5.9, 6, 9.4, 9.5)] == [1, 1, 0.1, 0.1, 0.01]
    plain = two_drops(10)
    assert warmed_up(plain, 0, 0.1) is plain


def test_a_warm_up_is_of_the_retraining_alone(base: nn.Module, digits: data.ImageSet) -> None:
    seen: list[Epoch] = []
    table = {**QUICK, "admm_epochs": 1, "retrain_epochs": 3, "warmup_epochs": 2}
    apply(base, {**table, "warmup_lr": 2e-3}, training=digits, watch=Watch(seen.append))
    count = batches_in(len(hold_out(digits)[0].labels), QUICK["batch_size"])
    behind = [(count - 1) / count, 1 + (count - 1) / count]  # at the last step of an epoch
    rates = [0.002 + 0.008 * epochs / 2 for epochs in behind]
    assert [epoch.learning_rate for epoch in seen] == pytest.approx([0.01, *rates, 0.01])


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"warmup_epochs": 50}, "takes warmup_epochs below retrain_epochs, 50, not 50"),
        ({"warmup_epochs": 5, "warmup_lr": 0.1}, "takes warmup_lr up to retrain_lr, 0.01, not 0.1"),
    ],
)
def test_a_warm_up_that_does_not_fit_is_refused(table: Table, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        make_step({"name": "rap-admm", **table})
    assert make_step({"name": "rap-admm", **table, "retrain_epochs": 0})
    assert make_step({"name": "rap-admm", "warmup_lr": 0.1})


# --- the method ---


@pytest.mark.parametrize("pattern", PATTERNS)
def test_convolutions_come_out_in_the_pattern(
    base: nn.Module, digits: data.ImageSet, pattern: str
) -> None:
    rate = 4
    table = {**QUICK, "pattern": pattern, "rate": rate}
    live = apply(base, table, training=digits).live
    for _, layer in weight_layers(live):
        if isinstance(layer, nn.Linear):
            assert not on_weight(layer)
            continue
        (mask,) = on_weight(layer)
        assert isinstance(mask, Mask)
        rows = mask.mask.flatten(1)
        assert not layer.weight[~mask.mask].any()
        kept = rows.flatten()
        if pattern == "filter":
            kept = rows[:, 0]
            assert torch.equal(rows, kept[:, None].expand_as(rows))
        elif pattern == "column":
            kept = rows[0]
            assert torch.equal(rows, kept.expand_as(rows))
        # Above the threshold: the ranks beyond its place in the order.
        place = (1 - 1 / rate) * (len(kept) - 1)
        assert int(kept.sum()) == len(kept) - 1 - int(place)


def test_the_stem_can_stay(base: nn.Module, digits: data.ImageSet) -> None:
    live = apply(base, {**QUICK, "stem": False}, training=digits).live
    masked = [bool(on_weight(layer)) for _, layer in weight_layers(live)]
    assert masked == [False] + [True] * (len(masked) - 2) + [False]


def test_stages_and_what_is_kept(base: nn.Module, digits: data.ImageSet) -> None:
    """The last ADMM epoch is cut, whatever the one before scored; the mask comes from it."""
    seen: list[Epoch] = []
    table = {**QUICK, "admm_epochs": 3, "retrain_epochs": 2}
    live = apply(base, table, training=digits, watch=Watch(seen.append)).live
    assert [(e.stage, e.number) for e in seen] == [
        ("admm", 1),
        ("admm", 2),
        ("admm", 3),
        ("retrain", 1),
        ("retrain", 2),
    ]
    cut = apply(base, {**table, "retrain_epochs": 0}, training=digits).live
    for (_, one), (_, two) in zip(weight_layers(live), weight_layers(cut), strict=True):
        if on_weight(one):
            assert torch.equal(on_weight(one)[0].mask, on_weight(two)[0].mask)  # type: ignore[arg-type]
            original = two.parametrizations.weight.original  # type: ignore[union-attr,index]
            expected = pattern_mask(original, "irregular", 0.875)
            assert torch.equal(on_weight(two)[0].mask, expected)  # type: ignore[arg-type]
        assert not torch.equal(one.weight, two.weight)


def test_the_penalty_draws_weights_to_the_pattern(base: nn.Module, digits: data.ImageSet) -> None:
    """With a strong penalty less is lost by the cut."""
    lost = []
    for rho in (1e-9, 1.0):
        table = {**QUICK, "admm_epochs": 4, "rho": rho, "retrain_epochs": 0, "rate": 4}
        live = apply(base, table, training=digits).live
        gone = whole = 0.0
        for _, layer in weight_layers(live):
            if on_weight(layer):
                original = layer.parametrizations.weight.original.detach()
                whole += float(original.square().sum())
                gone += float((original - layer.weight.detach()).square().sum())
        lost.append(gone / whole)
    assert lost[1] < 0.5 * lost[0]


def test_zeros_of_an_earlier_mask_stay(base: nn.Module, digits: data.ImageSet) -> None:
    first = {"name": "magnitude", "sparsity": 0.5}
    alone = apply(base, first).deployed()
    both = apply(base, first, {**QUICK, "rate": 1.5}, training=digits).deployed()
    for (_, before), (_, after) in zip(weight_layers(alone), weight_layers(both), strict=True):
        gone = before.weight == 0
        assert gone.any()
        assert not after.weight[gone].any()
        assert after.weight.any()


@pytest.mark.parametrize(
    "option", [{"mixup": 0.2}, {"label_smoothing": 0.1}, {"passes": "as coded"}]
)
def test_options_reach_both_trainings(
    base: nn.Module, digits: data.ImageSet, option: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Noted] = []

    class Noted(PgdAt):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            self.batches = 0
            made.append(self)

        def loss(self, *given: Any) -> torch.Tensor:
            self.batches += 1
            return super().loss(*given)

    monkeypatch.setattr(rap_admm, "PgdAt", Noted)
    apply(base, {**QUICK, "admm_epochs": 1, **option}, training=digits)
    (adversarial,) = made
    steps = batches_in(len(hold_out(digits)[0].labels), QUICK["batch_size"])
    assert adversarial.batches == 2 * steps
    wanted = Softening(option.get("mixup", 0), option.get("label_smoothing", 0))
    assert adversarial._softening == wanted
    assert adversarial._clean_pass == ("passes" in option)


def test_interrupted_anywhere_it_ends_the_same(
    base: nn.Module, digits: data.ImageSet, tmp_path: Path
) -> None:
    table = {**QUICK, "admm_epochs": 3, "retrain_epochs": 2, "dual_gradient": "as coded"}
    table |= {"mixup": 1, "label_smoothing": 0.1, "passes": "as coded", "warmup_epochs": 1}
    assert_ends_the_same(base, table, digits, tmp_path, (1, 2, 3, 4))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_attack_view_agrees_and_files_give_the_same_bits(
    base: nn.Module, digits: data.ImageSet, tmp_path: Path, pattern: str
) -> None:
    table = {**QUICK, "admm_epochs": 1, "rate": 2, "pattern": pattern}
    variant = apply(base, table, training=digits)
    assert_views_and_files_agree(variant, "digits-resnet-at", digits.images[:50], tmp_path)


def test_a_network_without_convolutions_is_refused(digits: data.ImageSet) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(SpecError, match="no convolution to prune"):
        apply(model, QUICK, training=digits)


def test_a_layer_with_nothing_left_stops_it(digits: data.ImageSet) -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(TrainingError, match="nothing of layer '0' is above the threshold"):
        apply(model, QUICK, training=digits)


def test_without_training_images_it_is_refused(base: nn.Module) -> None:
    with pytest.raises(SpecError, match="rap-admm: this dataset has no training images"):
        apply(base, QUICK)


def test_asking_for_no_more_is_refused() -> None:
    hard, soft = {"name": "rap-admm", "rate": 16}, {"name": "rap-admm", "rate": 8}
    with pytest.raises(SpecError, match="rap-admm 8x irregular after rap-admm 16x"):
        small_study(compression=[{"steps": [hard, soft]}])
    assert small_study(compression=[{"steps": [soft, hard]}]).recipes()
    assert small_study(compression=[{"steps": [hard, {**soft, "pattern": "column"}]}]).recipes()
    assert small_study(compression=[{"steps": [{**hard, "stem": False}, soft]}]).recipes()


def test_labels_and_the_rate_as_it_was_asked_for() -> None:
    step = make_step({"name": "rap-admm", "pattern": "filter", "rate": 12, "eps": 0.15})
    assert step.label == "rap-admm 12x filter eps=0.15"
    assert step.params["rate"] == 12
    assert make_step({"name": "rap-admm"}).label == "rap-admm 8x irregular"


# --- filters by the scale of the BatchNorm behind them ---


def small_net() -> nn.Sequential:
    """A convolution with a BatchNorm, one without, and one with a bias and a BatchNorm."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 1),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Linear(8 * 36, 10),
    )
    for norm in (net[1], net[6]):
        nn.init.uniform_(norm.weight, -1, 1)
        nn.init.uniform_(norm.bias, -1, 1)
    return net


BY_SCALE: Table = {**QUICK, "pattern": "bn-filter", "rate": 2}


def test_filters_go_by_the_scale_behind_them_which_stays_zero(digits: data.ImageSet) -> None:
    """The smallest half of each BatchNorm, above the median; the shift is trained on."""
    table = {**BY_SCALE, "retrain_epochs": 2}
    cut = apply(small_net(), {**table, "retrain_epochs": 0}, training=digits).live
    live = apply(small_net(), table, training=digits).live
    for conv, norm in ((0, 1), (5, 6)):
        kept = cut[norm].weight.detach() != 0  # type: ignore[index]
        assert int(kept.sum()) == len(kept) // 2
        assert cut[norm].weight.detach().abs()[kept].min() > 0  # type: ignore[index]
        (mask,) = on_weight(live[conv])  # type: ignore[index]
        assert isinstance(mask, Mask)
        assert torch.equal(mask.mask, kept[:, None, None, None].expand_as(mask.mask))
        assert torch.equal(live[norm].weight != 0, kept)  # type: ignore[index]
        moved = live[norm].bias != cut[norm].bias  # type: ignore[index]
        assert moved[~kept].all(), "what a silenced channel gives is still trained"
    assert not on_weight(live[3])  # type: ignore[index]
    assert not on_weight(live[8])  # type: ignore[index]


def test_it_trains_as_with_the_gradient_of_the_scales_masked(digits: data.ImageSet) -> None:
    """The published code cuts the scales alone: the filters behind them have no effect then."""
    ours, published = small_net().double().train(), small_net().double().train()
    params = catalog.find("compressions", "rap-admm").params.model_validate(
        {k: v for k, v in BY_SCALE.items() if k != "name"}
    )
    rap_admm._apply(ours, {"1": "0", "6": "5"}, params)  # type: ignore[arg-type]
    masks = {}
    for norm in (published[1], published[6]):
        sizes = norm.weight.detach().abs()
        masks[norm] = sizes > np.percentile(sizes.numpy(), 50)
        norm.weight.data *= masks[norm]
    x, labels = digits.images[:32].double(), digits.labels[:32]
    for net in (ours, published):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
        for _ in range(4):
            optimizer.zero_grad()
            F.cross_entropy(net(x), labels).backward()
            for norm, mask in masks.items() if net is published else ():
                norm.weight.grad *= mask
            optimizer.step()
    assert torch.allclose(ours(x), published(x), atol=1e-10)
    assert torch.allclose(ours.eval()(x), published.eval()(x), atol=1e-10)
    assert torch.allclose(ours[8].weight, published[8].weight, atol=1e-10)
    for one, two in ((ours[1], published[1]), (ours[6], published[6])):
        assert torch.allclose(one.weight, two.weight, atol=1e-10)
        assert torch.equal(one.weight == 0, ~masks[two])


def test_scales_of_a_real_network_files_and_views_agree(
    base: nn.Module, digits: data.ImageSet, tmp_path: Path
) -> None:
    variant = apply(base, {**BY_SCALE, "admm_epochs": 1}, training=digits)
    assert_views_and_files_agree(variant, "digits-resnet-at", digits.images[:50], tmp_path)
    masked = [bool(on_weight(layer)) for _, layer in weight_layers(variant.live)]
    assert masked == [True] * (len(masked) - 1) + [False]


def test_the_stem_keeps_its_scales(digits: data.ImageSet) -> None:
    live = apply(small_net(), {**BY_SCALE, "stem": False}, training=digits).live
    assert not on_weight(live[0])  # type: ignore[index]
    assert live[1].weight.all()  # type: ignore[index]
    assert on_weight(live[5])  # type: ignore[index]


def test_without_a_batch_norm_right_behind_it_is_refused(digits: data.ImageSet) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    with pytest.raises(SpecError, match="to have a BatchNorm right behind it") as caught:
        apply(model, BY_SCALE, training=digits)
    assert "'filter'" in caught.value.hint
