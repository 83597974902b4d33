"""Hydra: how many weights stay, the gradient of scores, both trainings, plain masks after."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from engine import catalog, data, models
from engine.catalog.compressions.trained_pruning import HydraParams
from engine.catalog.training import PgdAtParams, TradesParams
from engine.compression.layers import attach, on_weight, weight_layers
from engine.compression.methods.hydra import cosine, first_scores
from engine.compression.parts.mask import Mask
from engine.compression.parts.score_mask import ScoreMask, allowed_weights, chosen, kept_weights
from engine.data import training as reading
from engine.errors import DataError, SpecError
from engine.events import Epoch
from engine.specs.choices import make_step
from engine.specs.dataset import DatasetSpec
from engine.training import Watch, hold_out
from engine.training.examples import batches_in
from engine.training.objectives import trades_loss
from tests.helpers.studies import small_study
from tests.helpers.trained_steps import (
    Table,
    apply,
    assert_ends_the_same,
    assert_views_and_files_agree,
)

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK: Table = {
    "name": "hydra",
    "prune_epochs": 1,
    "finetune_epochs": 1,
    "attack_steps": 1,
    "eps": 0.1,
    "batch_size": 64,
}


@pytest.fixture(scope="module")
def all_digits() -> data.ImageSet:
    return data.training_images("digits")


@pytest.fixture
def base() -> nn.Module:
    return models.load(catalog.model_card("digits-resnet-at"))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# --- counts ---


@pytest.mark.parametrize(
    ("count", "density", "kept"),
    [
        (432, 0.01, 5),  # a 3x3 convolution from 3 to 16 channels
        (1024, 0.01, 11),
        (432, 0.1, 44),
        (10, 0.9, 10),  # (1 - 0.9) x 10 is just below 1 in floating point
        (10, 0.1, 1),
        (7, 1.0, 7),
        (3, 1e-6, 1),
    ],
)
def test_how_many_weights_stay(count: int, density: float, kept: int) -> None:
    assert kept_weights(count, density) == kept


@pytest.mark.parametrize("density", [0.01, 0.1, 0.37])
@pytest.mark.parametrize("trained", [False, True])
def test_every_layer_keeps_exactly_its_share(
    base: nn.Module, digits: data.ImageSet, density: float, trained: bool
) -> None:
    epochs = {} if trained else {"prune_epochs": 0, "finetune_epochs": 0}
    variant = apply(base, {**QUICK, "density": density, **epochs}, training=digits)
    for name, layer in weight_layers(variant.live):
        (mask,) = on_weight(layer)
        assert isinstance(mask, Mask)
        count = layer.weight.numel()
        assert int(mask.mask.sum()) == count - int((1 - density) * count), name
        assert not (layer.weight[~mask.mask]).any()
    left = [m for m in variant.live.modules() if isinstance(m, ScoreMask)]
    assert not left
    assert all(p.requires_grad for p in variant.live.parameters())


def test_biases_and_batch_norm_are_never_masked(base: nn.Module) -> None:
    variant = apply(base, {**QUICK, "prune_epochs": 0, "finetune_epochs": 0})
    before, after = base.state_dict(), variant.deployed().state_dict()
    weights = {f"{name}.weight" for name, _ in weight_layers(base)}
    for name in before.keys() - weights:
        assert torch.equal(before[name], after[name])


# --- the mask and its gradient ---


def test_of_equal_scores_the_earlier_go() -> None:
    allowed = torch.ones(5, dtype=torch.bool)
    assert chosen(torch.tensor([1.0, 2, 1, 1, 0]), allowed, 2).tolist() == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_gradients_of_a_masked_layer_by_hand() -> None:
    """y = sum c (m W); dL/ds = c W sign(s) everywhere, also where the mask is 0."""
    layer = nn.Linear(3, 2, bias=False).double()
    weight = torch.tensor([[0.5, -2.0, 1.5], [3.0, -0.25, 4.0]], dtype=torch.float64)
    scores = torch.tensor([[-0.9, 0.1, 0.8], [0.2, -0.7, 0.0]], dtype=torch.float64)
    layer.weight.data.copy_(weight)
    scored = ScoreMask(scores.clone(), torch.ones(2, 3, dtype=torch.bool), 3)
    attach(layer, scored)
    mask = torch.tensor([[1.0, 0, 1], [0, 1, 0]], dtype=torch.float64)
    assert torch.equal(layer.weight, weight * mask)
    c = draw(2, 3)
    (c * layer.weight).sum().backward()
    assert torch.equal(scored.scores.grad, c * weight * scores.sign())
    original = layer.parametrizations.weight.original
    assert torch.equal(original.grad, c * mask)


def test_trades_reaches_the_scores_through_both_branches() -> None:
    """One linear layer, two images each: dL/ds from the closed form of dL/dlogits."""
    x, y, labels = draw(2, 3), draw(2, 3, seed=1), torch.tensor([0, 1])
    weight, scores, beta = draw(2, 3, seed=2), draw(2, 3, seed=3), 6.0
    layer = nn.Linear(3, 2, bias=False).double()
    layer.weight.data.copy_(weight)
    scored = ScoreMask(scores.clone(), torch.ones(2, 3, dtype=torch.bool), 4)
    attach(layer, scored)
    trades_loss(layer(x), layer(y), labels, beta).backward()

    mask = scored.frozen().mask.double()
    p, q = (F.softmax(z @ (weight * mask).T, dim=1) for z in (x, y))
    divergence = (p * (p / q).log()).sum(1, keepdim=True)
    clean = (p - F.one_hot(labels, 2)) + beta * p * ((p / q).log() - divergence)
    adversarial = beta * (q - p)
    by_hand = (clean.T @ x + adversarial.T @ y) / 2
    assert torch.allclose(scored.scores.grad, by_hand * weight * scores.sign(), atol=1e-12)


def test_zeros_of_an_earlier_mask_stay_and_scores_rank_the_rest(
    base: nn.Module, digits: data.ImageSet
) -> None:
    first = {"name": "magnitude", "sparsity": 0.5, "scope": "layer"}
    variant = apply(base, first, {**QUICK, "density": 0.2}, training=digits)
    for _, layer in weight_layers(variant.live):
        earlier, later = on_weight(layer)
        assert isinstance(earlier, Mask)
        assert isinstance(later, Mask)
        assert not (later.mask & ~earlier.mask).any()
        assert int(later.mask.sum()) == kept_weights(layer.weight.numel(), 0.2)
    # Fewer left than would stay: all of these stay.
    hard = {"name": "magnitude", "sparsity": 0.95}
    variant = apply(base, hard, {**QUICK, "prune_epochs": 0, "finetune_epochs": 0})
    for _, layer in weight_layers(variant.live):
        earlier, later = on_weight(layer)
        count = layer.weight.numel()
        assert isinstance(earlier, Mask)
        assert isinstance(later, Mask)
        assert int(later.mask.sum()) == min(int(earlier.mask.sum()), kept_weights(count, 0.1))


# --- initialisation ---


def test_scaled_scores_by_hand() -> None:
    layer = nn.Conv2d(4, 3, 3, bias=False)
    weight = layer.weight.detach()
    generator = torch.Generator()
    expected = math.sqrt(6 / (4 * 9)) * weight.double() / weight.double().abs().max()
    assert torch.allclose(first_scores(layer, "scaled", generator).double(), expected, rtol=1e-6)
    linear = nn.Linear(5, 2)
    assert first_scores(linear, "scaled", generator).abs().max() == pytest.approx(math.sqrt(6 / 5))
    nn.init.zeros_(linear.weight)
    assert not first_scores(linear, "scaled", generator).any()


def test_kaiming_scores_are_uniform_and_of_the_seed() -> None:
    layer = nn.Linear(100, 400)
    one, same, other = (
        first_scores(layer, "kaiming", torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.abs().max() <= 0.1
    assert one.std() == pytest.approx(0.1 / math.sqrt(3), rel=0.02)


def test_without_training_it_is_magnitude_pruning_of_each_layer(base: nn.Module) -> None:
    """The baseline LWM of the paper: scores in proportion to the weights."""
    table = {**QUICK, "density": 0.25, "prune_epochs": 0, "finetune_epochs": 0}
    state = torch.get_rng_state()
    found = apply(base, table).deployed()
    assert torch.equal(state, torch.get_rng_state())
    for (_, one), (_, layer) in zip(weight_layers(found), weight_layers(base), strict=True):
        sizes = layer.weight.detach().abs().flatten()
        kept = set(sizes.argsort()[-kept_weights(len(sizes), 0.25) :].tolist())
        assert set(one.weight.flatten().nonzero().flatten().tolist()) == kept


# --- the trainings ---


def test_the_published_course_of_the_learning_rate() -> None:
    course, epochs = cosine(20), 20
    assert course(1.0) == course(1.99) == 1.0
    assert course(0.0) == course(0.97) == course(2.0)
    assert cosine(1)(0.5) == 1.0
    for epoch in range(epochs):
        by_hand = 0.5 * (1 + math.cos((epoch - 1) / epochs * math.pi))
        assert course(epoch + 0.5) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("freeze_bn", [False, True])
def test_what_the_pruning_stage_moves(
    base: nn.Module, digits: data.ImageSet, freeze_bn: bool
) -> None:
    table = {**QUICK, "finetune_epochs": 0, "freeze_bn": freeze_bn}
    live = apply(base, table, training=digits).live
    moved = {"weights": 0, "scores": 0, "affine": 0, "statistics": 0}
    plain = apply(base, {**table, "prune_epochs": 0}).live
    for name, module in base.named_modules():
        other = live.get_submodule(name)
        if isinstance(module, nn.Conv2d | nn.Linear):
            original = other.parametrizations.weight.original
            moved["weights"] += int((original != module.weight).sum())
            first = plain.get_submodule(name).parametrizations.weight[0].mask
            moved["scores"] += int((first != other.parametrizations.weight[0].mask).sum())
            if module.bias is not None:
                moved["weights"] += int((other.bias != module.bias).sum())
        elif isinstance(module, nn.BatchNorm2d):
            moved["affine"] += int((other.weight != module.weight).sum())
            moved["statistics"] += int((other.running_mean != module.running_mean).sum())
    assert moved["weights"] == 0
    assert moved["scores"] > 0
    assert moved["statistics"] > 0
    assert (moved["affine"] > 0) != freeze_bn


def test_batch_norm_of_every_dimension_moves_with_the_scores(digits: data.ImageSet) -> None:
    norm = nn.BatchNorm1d(8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), norm, nn.ReLU(), nn.Linear(8, 10))
    live = apply(model, {**QUICK, "finetune_epochs": 0}, training=digits).live
    assert not torch.equal(live[2].weight, norm.weight)  # type: ignore[index]


def test_the_mask_stays_while_weights_are_trained(base: nn.Module, digits: data.ImageSet) -> None:
    stages: list[Epoch] = []
    pruned = apply(base, {**QUICK, "finetune_epochs": 0}, training=digits).live
    tuned = apply(base, QUICK, training=digits, watch=Watch(stages.append)).live
    assert [(epoch.stage, epoch.number) for epoch in stages] == [("prune", 1), ("fine-tune", 1)]
    assert all(epoch.robust is not None for epoch in stages)
    for (_, one), (_, two) in zip(weight_layers(pruned), weight_layers(tuned), strict=True):
        mask = one.parametrizations.weight[0].mask
        assert torch.equal(mask, two.parametrizations.weight[0].mask)
        assert not torch.equal(one.weight, two.weight)


def test_a_later_step_can_fine_tune(base: nn.Module, digits: data.ImageSet) -> None:
    later = {"name": "finetune", "epochs": 1}
    variant = apply(base, {**QUICK, "finetune_epochs": 0}, later, training=digits)
    for _, layer in weight_layers(variant.live):
        count = int(layer.weight.count_nonzero())
        assert count <= kept_weights(layer.weight.numel(), 0.1)


def test_parameters_reach_both_trainings() -> None:
    params = HydraParams(training="trades", beta=3, eps=0.1, momentum=0.8)
    recipe = params.recipe("trades", epochs=7, lr=0.5, nesterov=False)
    assert isinstance(recipe, TradesParams)
    assert (recipe.beta, recipe.eps, recipe.momentum) == (3, 0.1, 0.8)
    assert (recipe.epochs, recipe.lr, recipe.weight_decay, recipe.nesterov) == (7, 0.5, 1e-4, False)
    assert type(params.recipe("pgd-at", epochs=1)) is PgdAtParams


@pytest.mark.parametrize(("passes", "counted"), [("as published", 2), ("as coded", 4)])
def test_passes_of_the_published_code_in_both_trainings(
    base: nn.Module, digits: data.ImageSet, passes: str, counted: int
) -> None:
    """BatchNorm counts the passes in train mode: so many for each batch of two epochs."""
    (norm, *_) = [m for m in base.modules() if isinstance(m, nn.BatchNorm2d)]
    before = int(norm.num_batches_tracked)
    live = apply(base, {**QUICK, "passes": passes}, training=digits).live
    (norm, *_) = [m for m in live.modules() if isinstance(m, nn.BatchNorm2d)]
    steps = 2 * batches_in(len(hold_out(digits)[0].labels), QUICK["batch_size"])
    assert int(norm.num_batches_tracked) - before == counted * steps


def test_interrupted_in_either_stage_it_ends_the_same(
    base: nn.Module, digits: data.ImageSet, tmp_path: Path
) -> None:
    table = {**QUICK, "prune_epochs": 2, "finetune_epochs": 2}
    assert_ends_the_same(base, table, digits, tmp_path, (1, 2, 3))


# --- around it ---


def test_attack_view_agrees_and_files_give_the_same_bits(
    base: nn.Module, digits: data.ImageSet, tmp_path: Path
) -> None:
    variant = apply(base, {"name": "magnitude", "sparsity": 0.3}, QUICK, training=digits)
    assert_views_and_files_agree(variant, "digits-resnet-at", digits.images[:50], tmp_path)


def test_a_search_that_caches_what_acts_on_weights_finds_the_same(base: nn.Module) -> None:
    layer = base[0]
    scored = ScoreMask(layer.weight.detach().clone(), allowed_weights(layer), 20)
    attach(layer, scored)
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = base(x)
        with parametrize.cached():
            assert torch.equal(base(x), expected)
            assert torch.equal(base(x), expected)
        scored.scores.data.neg_().flatten()[:9] *= 100  # the cache must not outlive its block
        assert not torch.equal(base(x), expected)


def test_without_training_images_training_is_refused(base: nn.Module) -> None:
    with pytest.raises(SpecError, match="hydra: this dataset has no training images"):
        apply(base, QUICK)


@pytest.mark.parametrize(
    "first",
    [
        {"name": "hydra", "density": 0.05},
        {"name": "hydra", "density": 0.1},
        {"name": "magnitude", "scope": "layer", "sparsity": 0.9},
        {"name": "nm-sparsity", "n": 1, "m": 10},
    ],
)
def test_it_is_refused_where_nothing_is_left_to_choose(first: Table) -> None:
    with pytest.raises(SpecError, match=r"hydra 10% after .* removes nothing"):
        small_study(compression=[{"steps": [first, {"name": "hydra"}]}])


@pytest.mark.parametrize(
    "first",
    [
        {"name": "hydra", "density": 0.2},
        {"name": "magnitude", "sparsity": 0.95},  # over the network: some layers keep more
        {"name": "magnitude", "scope": "layer", "sparsity": 0.8},
        {"name": "nm-sparsity", "n": 1, "m": 16, "indivisible": "dense"},
        {"name": "channel"},
        {"name": "rap-admm"},
    ],
)
def test_it_is_allowed_where_something_is(first: Table) -> None:
    assert small_study(compression=[{"steps": [first, {"name": "hydra"}]}]).recipes()


def test_labels_tell_settings_apart() -> None:
    assert make_step({"name": "hydra"}).label == "hydra 10%"
    label = make_step({"name": "hydra", "density": 0.05, "eps": 0.15, "scores": "kaiming"}).label
    assert label == "hydra 5% scores=kaiming eps=0.15"


def test_scores_find_the_weights_that_matter_and_not_the_largest() -> None:
    """The first pixel tells the class, the second is black; its weights are larger."""
    labels = torch.arange(80) % 2
    pixels = torch.zeros(80, 1, 2, 2)
    pixels[:, 0, 0, 0] = labels.float()
    known = data.ImageSet(pixels, labels, torch.arange(80), ("0", "1"), "npz", "two")
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    model[1].bias.data.copy_(torch.tensor([0.5, -0.5]))
    model[1].weight.data.copy_(torch.tensor([[-1.0, 1.2, 0, 0], [1.0, -1.2, 0, 0]]))
    setting = {"training": "standard", "batch_size": 8, "weight_decay": 0, "prune_lr": 0.1}
    table = {"name": "hydra", "density": 0.25, "prune_epochs": 4, "finetune_epochs": 0, **setting}
    for changes, kept in (({"prune_epochs": 0}, [1, 1]), ({}, [0, 0])):
        weight = apply(model, {**table, **changes}, training=known).deployed()[1].weight
        assert weight.abs().argmax(dim=1).tolist() == kept
        assert int(weight.count_nonzero()) == 2


# --- the second stream ---


def stream(folder: Path, images: torch.Tensor, labels: torch.Tensor, name: str = "more") -> str:
    """An archive of training images, bytes as people have them."""
    pixels = (255 * images).round().byte().permute(0, 2, 3, 1).numpy()
    path = folder / f"{name}.npz"
    np.savez(path, x_train=pixels, y_train=labels.numpy())
    return str(path)


def test_a_second_stream_doubles_the_batches_of_both_trainings(
    base: nn.Module, digits: data.ImageSet, tmp_path: Path
) -> None:
    more = stream(tmp_path, 1 - digits.images[:50], digits.labels[:50])
    shown: list[torch.Tensor] = []

    def note(module: nn.Module, given: tuple[torch.Tensor]) -> None:
        if module.training:
            shown.append(given[0].detach())

    base.register_forward_pre_hook(note)
    table = {**QUICK, "training": "standard", "augmentation": "none", "second_stream": more}
    seen: list[Epoch] = []
    live = apply(base, table, training=digits, watch=Watch(seen.append)).live
    assert [epoch.stage for epoch in seen] == ["prune", "fine-tune"]
    count = len(hold_out(digits)[0].labels)
    assert len(shown) == 2 * batches_in(count, QUICK["batch_size"])
    assert sum(map(len, shown)) == 2 * 2 * count
    for batch in shown:  # a digit is dark, its negative is bright
        bright = batch.flatten(1).mean(1) > 0.5
        assert not bright[: len(batch) // 2].any()
        assert bright[len(batch) // 2 :].all()
    alone = apply(base, {**table, "second_stream": ""}, training=digits).live
    assert models.fingerprint(live) != models.fingerprint(alone)


@pytest.mark.parametrize(
    ("shape", "label", "words"),
    [
        ((3, 8, 8), 0, "second_stream: the images of 'more.npz' are 3x8x8 .* join are 1x8x8"),
        (
            (1, 8, 8),
            11,
            "second_stream: the labels of 'more.npz' go up to 11, .* of 10 classes",
        ),
    ],
)
def test_a_second_stream_that_does_not_fit_is_refused_before_training(
    base: nn.Module,
    digits: data.ImageSet,
    tmp_path: Path,
    shape: tuple[int, ...],
    label: int,
    words: str,
) -> None:
    more = stream(tmp_path, torch.zeros(4, *shape), torch.tensor([0, 1, 2, label]))
    seen: list[Epoch] = []
    with pytest.raises(DataError, match=words):
        apply(base, {**QUICK, "second_stream": more}, training=digits, watch=Watch(seen.append))
    with pytest.raises(DataError, match=r"There is no file .*nowhere\.npz"):
        apply(base, {**QUICK, "second_stream": str(tmp_path / "nowhere.npz")}, training=digits)
    assert not seen


def test_the_second_stream_is_part_of_what_is_learned(
    digits: data.ImageSet, tmp_path: Path
) -> None:
    """By its content, and only of recipes with the step."""
    more = stream(tmp_path, digits.images[:9], digits.labels[:9])
    prune = make_step({"name": "magnitude"})
    plain, joined = make_step(QUICK), make_step({**QUICK, "second_stream": more})
    first = data.lesson(digits, (prune, joined))
    assert data.lesson(digits, (prune, plain)) == data.lesson(digits, (prune,)) == digits.lesson
    assert data.lesson(None, (joined,)) == ""
    assert first not in (digits.lesson, "")
    stream(tmp_path, digits.images[:9], digits.labels[1:10])
    os.utime(more, ns=(1, 1))  # whatever the clock
    assert data.lesson(digits, (prune, joined)) != first
    untrained = make_step({**joined.to_table(), "prune_epochs": 0, "finetune_epochs": 0})
    os.remove(more)
    assert data.lesson(digits, (untrained,)) == digits.lesson
    with pytest.raises(DataError, match="There is no file"):
        data.lesson(digits, (joined,))


def test_archives_are_read_once_however_many_there_are(
    digits: data.ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [
        stream(tmp_path, digits.images[at : at + 9], digits.labels[at : at + 9], f"more-{at}")
        for at in range(3)
    ]
    recipes = [(make_step({**QUICK, "second_stream": path}),) for path in paths]
    read: list[str | None] = []

    def noted(spec: DatasetSpec) -> data.ImageSet:
        read.append(spec.npz)
        return data.training_images(spec)

    monkeypatch.setattr(reading, "training_images", noted)
    lessons = [[data.lesson(digits, one) for one in recipes] for _ in range(3)]
    assert lessons[0] == lessons[1] == lessons[2]
    assert len(set(lessons[0])) == 3
    assert read == paths
    data.forget_training()
    assert [data.lesson(digits, one) for one in recipes] == lessons[0]
    assert read == 2 * paths


def test_a_label_names_the_archive_and_tells_folders_apart() -> None:
    steps = [
        make_step({"name": "hydra", "second_stream": f"/{folder}/of/tiny images.npz"})
        for folder in ("one", "two")
    ]
    start, mark = "hydra 10% second_stream=tiny-images.npz", "#[0-9a-f]{6}"
    assert all(re.fullmatch(re.escape(start) + mark, step.label) for step in steps)
    assert steps[0].label != steps[1].label
    assert make_step(steps[0].to_table()).label == steps[0].label
    assert steps[0].brief == "hydra 10%"
