"""Gradual magnitude pruning: the cubic schedule, nested masks, and only finished epochs kept."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from engine import catalog, data, models
from engine.catalog.compressions.pruning import MagnitudeParams
from engine.catalog.training import StandardParams, TradesParams
from engine.compression.layers import on_weight, weight_layers
from engine.compression.methods.gradual import Gradual, sparsity_at
from engine.compression.parts.mask import Mask
from engine.errors import SpecError
from engine.events import Epoch
from engine.specs.choices import make_step
from engine.training import Checkpoint, Watch
from engine.training.objectives import Standard
from tests.helpers.trained_steps import (
    Table,
    apply,
    assert_ends_the_same,
    assert_views_and_files_agree,
)

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK: Table = {
    "name": "magnitude",
    "schedule": "gradual",
    "sparsity": 0.8,
    "epochs": 4,
    "ramp_epochs": 3,
    "batch_size": 64,
}


@pytest.fixture
def base() -> nn.Module:
    return models.load(catalog.model_card("digits-resnet"))


def zeros(model: nn.Module) -> list[int]:
    return [int((layer.weight == 0).sum()) for _, layer in weight_layers(model)]


def weights(model: nn.Module) -> int:
    return sum(layer.weight.numel() for _, layer in weight_layers(model))


def test_the_cubic_schedule_by_hand() -> None:
    """s_f (1 - (1 - i/n)^3): after one of three raises 19/27, after two 26/27, then all."""
    shares = [sparsity_at(raised, 3, 0.9) for raised in range(5)]
    assert shares == pytest.approx([0, 0.9 * 19 / 27, 0.9 * 26 / 27, 0.9, 0.9], rel=1e-12)


def test_a_raise_comes_before_each_of_the_first_epochs() -> None:
    asked: list[float] = []
    begun: list[int] = []

    class Inner(Standard):
        def begin_epoch(self, model: nn.Module, number: int) -> None:
            begun.append(number)

        def state(self) -> dict[str, torch.Tensor]:
            return {"a": torch.ones(())}

    objective = Gradual(Inner(), lambda _, share: asked.append(share), 2, 0.8)
    for number in range(1, 5):
        objective.begin_epoch(nn.Identity(), number)
    assert asked == pytest.approx([0.8 * 7 / 8, 0.8])
    assert begun == [1, 2, 3, 4]
    assert objective.state().keys() == {"a"}


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_sparsity_rises_and_no_weight_comes_back(
    base: nn.Module, digits: data.ImageSet, scope: str, tmp_path: Path
) -> None:
    """Masks as they were stored after every epoch."""
    table = {**QUICK, "scope": scope}
    path = tmp_path / "run"
    masks: list[list[torch.Tensor]] = []

    def look(_: Epoch) -> None:
        stored = Checkpoint(path, "key").at("fp32").read()
        assert stored is not None
        last = stored[0]["last"]
        masks.append([tensor for name, tensor in last.items() if name.endswith(".mask")])

    variant = apply(
        base,
        table,
        training=digits,
        watch=Watch(look),
        checkpoint=lambda _: Checkpoint(path, "key"),
    )
    counts = [layer.weight.numel() for _, layer in weight_layers(base)]
    for epoch, now in enumerate(masks, 1):
        share = sparsity_at(epoch, 3, 0.8)
        gone = [int((~mask).sum()) for mask in now]
        if scope == "layer":
            assert sorted(gone) == sorted(round(share * count) for count in counts)
        assert sum(gone) == pytest.approx(share * sum(counts), abs=len(counts))
    for before, after in pairwise(masks):
        assert all(not (b & ~a).any() for a, b in zip(before, after, strict=True))
    assert sum(zeros(variant.deployed())) == pytest.approx(0.8 * sum(counts), abs=len(counts))


def test_the_smallest_go_at_each_raise(base: nn.Module, digits: data.ImageSet) -> None:
    """With one raise, before the first gradient step, it chooses what one shot chooses."""
    once = apply(base, {"name": "magnitude", "sparsity": 0.8}).live
    table = {**QUICK, "ramp_epochs": 1, "epochs": 1}
    trained = apply(base, table, training=digits).live
    for (_, one), (_, two) in zip(weight_layers(once), weight_layers(trained), strict=True):
        ((first,), (second,)) = on_weight(one), on_weight(two)
        assert isinstance(first, Mask)
        assert isinstance(second, Mask)
        assert torch.equal(first.mask, second.mask)
        assert not torch.equal(one.weight, two.weight)


def test_only_an_epoch_with_the_full_sparsity_is_kept(
    base: nn.Module, digits: data.ImageSet
) -> None:
    """The dense start validates best, but it is not what was asked for."""
    seen: list[Epoch] = []
    table = {**QUICK, "sparsity": 0.97, "ramp_epochs": 4, "lr": 1e-4}
    variant = apply(base, table, training=digits, watch=Watch(seen.append))
    assert [epoch.stage for epoch in seen] == ["gradual"] * 4
    assert seen[-1].clean < max(epoch.clean for epoch in seen)
    assert sum(zeros(variant.deployed())) == round(0.97 * weights(base))


def test_zeros_of_an_earlier_mask_count_and_stay(base: nn.Module, digits: data.ImageSet) -> None:
    first = {"name": "magnitude", "sparsity": 0.5, "scope": "layer"}
    variant = apply(base, first, QUICK, training=digits)
    assert sum(zeros(variant.deployed())) == round(0.8 * weights(base))
    alone, both = apply(base, first).deployed(), variant.deployed()
    for (_, before), (_, after) in zip(weight_layers(alone), weight_layers(both), strict=True):
        gone = before.weight == 0
        assert gone.any()
        assert not after.weight[gone].any()
        assert after.weight.any()


def test_interrupted_anywhere_it_ends_the_same(
    base: nn.Module, digits: data.ImageSet, tmp_path: Path
) -> None:
    assert_ends_the_same(base, QUICK, digits, tmp_path, (1, 2, 3))


def test_attack_view_agrees_and_files_give_the_same_bits(
    base: nn.Module, digits: data.ImageSet, tmp_path: Path
) -> None:
    variant = apply(base, QUICK, {"name": "finetune", "epochs": 1}, training=digits)
    assert sum(zeros(variant.deployed())) == round(0.8 * weights(base))
    assert_views_and_files_agree(variant, "digits-resnet", digits.images[:50], tmp_path)


def test_without_training_images_it_is_refused(base: nn.Module) -> None:
    with pytest.raises(SpecError, match="magnitude: this dataset has no training images"):
        apply(base, QUICK)


def test_parameters_reach_the_training() -> None:
    params = MagnitudeParams(schedule="gradual", training="trades", beta=3, lr=0.02)
    recipe = params.recipe(params.training, schedule=params.lr_schedule)
    assert isinstance(recipe, TradesParams)
    assert (recipe.beta, recipe.lr, recipe.epochs, recipe.schedule) == (3, 0.02, 10, "cosine")
    plain = MagnitudeParams().recipe("standard", schedule="multistep")
    assert type(plain) is StandardParams
    assert plain.schedule == "multistep"


def test_a_ramp_longer_than_the_training_is_refused() -> None:
    with pytest.raises(SpecError, match="takes no more ramp_epochs than epochs = 4, not 5"):
        make_step({**QUICK, "ramp_epochs": 5})
    assert make_step({"name": "magnitude", "epochs": 1})  # one shot has no ramp


def test_labels() -> None:
    assert make_step({"name": "magnitude"}).label == "magnitude 90%"
    label = "magnitude 80% gradual standard 4ep ramp_epochs=3 batch_size=64"
    assert make_step(QUICK).label == label
