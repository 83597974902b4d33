"""Defensive distillation: its losses by definition, its two trainings, and what stands around."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from engine import catalog, data, models
from engine.errors import SpecError
from engine.events import Epoch
from engine.specs.choices import check_recipe, make_step
from engine.training import Watch
from engine.training.defensive import HotLabels, HotSoftLabels
from tests.helpers.trained_steps import apply, assert_ends_the_same

STEP = {"name": "defensive-distillation", "epochs": 2, "temperature": 30}
GENERATOR = torch.Generator()


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return models.load(catalog.model_card("digits-resnet"))


def logits(seed: int) -> torch.Tensor:
    drawn = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 20 * drawn


@pytest.mark.parametrize("temperature", [1.0, 7.0, 100.0])
def test_the_losses_are_those_of_the_definition(temperature: float) -> None:
    """``nn.Identity`` as network: its logits are its images."""
    student, teacher = logits(0).requires_grad_(), logits(1)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    own, theirs = (torch.exp(one / temperature) for one in (student, teacher))
    own, theirs = own / own.sum(dim=1, keepdim=True), theirs / theirs.sum(dim=1, keepdim=True)
    hard = -own.log()[torch.arange(6), labels].mean()
    soft = -(theirs * own.log()).sum(dim=1).mean()
    network = nn.Identity()
    told = HotLabels(temperature).loss(network, student, labels, GENERATOR)
    assert told.item() == pytest.approx(temperature * hard.item())
    aim = HotSoftLabels(_Constant(teacher), temperature)
    told = aim.loss(network, student, labels.flip(0), GENERATOR)
    assert told.item() == pytest.approx(temperature * soft.item())
    (gradient,) = torch.autograd.grad(told, student)
    assert torch.allclose(gradient, (own - theirs) / 6)


class _Constant(nn.Module):
    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.value


def test_two_trainings_are_told_and_a_stopped_one_goes_on(
    base: nn.Module, digits: data.ImageSet, tmp_path: Path, one_thread: None
) -> None:
    told: list[Epoch] = []
    apply(base, STEP, training=digits, watch=Watch(told.append))
    assert [(one.stage, one.number) for one in told] == [
        ("teacher", 1),
        ("teacher", 2),
        ("student", 1),
        ("student", 2),
    ]
    assert make_step(STEP).settings.training_epochs() == len(told)
    assert_ends_the_same(base, STEP, digits, tmp_path, stops=(1, 3))


def test_the_last_epoch_is_kept_however_accurate(
    base: nn.Module, digits: data.ImageSet, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is often the most accurate one, and not hot yet."""
    found = []
    for way in (1, -1):
        scores = iter([0.5 + 0.1 * way * number for number in range(4)])
        monkeypatch.setattr(
            "engine.training.trainer.validate", lambda *_, s=scores: (next(s), None)
        )
        found.append(models.fingerprint(apply(base, STEP, training=digits).live))
    assert found[0] == found[1]


def test_masks_stay_and_the_base_model_does(
    base: nn.Module, digits: data.ImageSet, one_thread: None
) -> None:
    before = models.fingerprint(base)
    quick = {**STEP, "epochs": 1}
    variant = apply(base, {"name": "magnitude", "sparsity": 0.5}, quick, training=digits)
    weights = [p for p in variant.deployed().parameters() if p.dim() > 1]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    assert zeros == round(0.5 * sum(weight.numel() for weight in weights))
    assert models.fingerprint(base) == before
    assert variant.defends


def test_it_may_follow_a_quantiser_and_needs_images(base: nn.Module) -> None:
    check_recipe(tuple(map(make_step, ({"name": "ptq"}, STEP))))
    with pytest.raises(SpecError, match="no training images"):
        apply(base, STEP)
