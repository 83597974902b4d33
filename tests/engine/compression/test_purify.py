"""Purification: its loss by hand, a network that stays, and a denoiser that is counted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from engine import catalog, compression, data, models
from engine.compression import Variant
from engine.compression.parts.denoiser import Denoiser
from engine.compression.parts.front import behind, fronts
from engine.costs.accounting import account
from engine.costs.packing import pack, payload_of, unpack
from engine.errors import SpecError
from engine.models.files.tensors import count_parameters
from engine.specs.choices import check_recipe, make_step
from engine.training.objectives import InnerSearch
from engine.training.purification import Purification, Purified
from tests.helpers.simulated_device import SimulatedDevice
from tests.helpers.trained_steps import apply, assert_ends_the_same, few_digits

STEP = {"name": "purify", "epochs": 2, "width": 2, "attack_steps": 1}
CARD = "digits-resnet"


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return models.load(catalog.model_card(CARD))


@pytest.fixture(scope="module")
def purified(base: nn.Module, digits: data.ImageSet) -> Variant:
    return apply(base, {"name": "ptq"}, STEP, training=digits)


class _Shift(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + 0.25


def linear() -> nn.Module:
    """Two pixels to three logits."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3, bias=False))
    model[1].weight.data = torch.tensor([[1.0, 2.0], [0.0, -3.0], [4.0, 0.0]])
    return model.eval().requires_grad_(False)


def loss(denoiser: nn.Module, eps: float, guide: str) -> float:
    images = torch.full((4, 1, 1, 2), 0.5)
    model = Purified(denoiser, linear())
    objective = Purification(InnerSearch(eps, 1, step_size=10.0), guide)  # type: ignore[arg-type]
    labels = torch.zeros(4, dtype=torch.int64)
    return objective.loss(model, images, labels, torch.Generator().manual_seed(3)).item()


def test_without_noise_it_is_what_the_denoiser_changes() -> None:
    assert loss(nn.Identity(), 0.0, "pixels") == loss(nn.Identity(), 0.0, "logits") == 0
    assert loss(_Shift(), 0.0, "pixels") == pytest.approx(0.25)
    assert loss(_Shift(), 0.0, "logits") == pytest.approx(0.25 * (3 + 3 + 4) / 3)


def test_with_noise_half_of_the_images_are_examples_at_a_part_of_eps() -> None:
    """The steepest step goes to a corner of the ball, whose radius is drawn for the batch."""
    radius = 0.2 * float(torch.rand((), generator=torch.Generator().manual_seed(3)))
    assert loss(nn.Identity(), 0.2, "pixels") == pytest.approx(radius / 2, rel=1e-4)


def test_a_fresh_denoiser_changes_nothing_whatever_the_size() -> None:
    for shape in ((2, 1, 8, 8), (2, 3, 7, 9)):
        images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        assert torch.equal(Denoiser(shape[1], 3, seed=1).eval()(images), images)


def test_only_the_denoiser_is_trained() -> None:
    model = Purified(Denoiser(1, 2), linear())
    assert {name.partition(".")[0] for name, _ in model.named_parameters()} == {"denoiser"}
    model.train()
    assert not model.classifier.training


def test_the_network_stays_bit_by_bit(
    purified: Variant, base: nn.Module, digits: data.ImageSet
) -> None:
    (front,) = fronts(purified.live)
    assert front.noise.weight.any(), "it learned something"  # type: ignore[union-attr,operator]
    images = digits.images[:16]
    quantised = apply(base, {"name": "ptq"})
    expected = quantised.deployed()(images)
    assert torch.equal(behind(purified.deployed())(images), expected)
    assert torch.equal(purified.naive_view()(images), expected), "naively it is attacked past it"
    assert not torch.equal(purified.deployed()(images), expected)


def test_the_attack_goes_through_the_denoiser(purified: Variant, digits: data.ImageSet) -> None:
    images = digits.images[:4]
    compression.check_agreement(purified.deployed(), purified.attack_view(), images)
    found = []
    for view in (purified.attack_view(), purified.deployed().double()):
        leaf = images.to(next(view.parameters()).dtype).requires_grad_()
        found.append(torch.autograd.grad(view(leaf)[:, 0].sum(), leaf)[0].double())
    assert torch.allclose(*found, rtol=1e-3, atol=1e-4)


def test_it_is_counted_stored_and_packed(
    purified: Variant, base: nn.Module, digits: data.ImageSet, tmp_path: Path
) -> None:
    card, images = catalog.model_card(CARD), digits.images[:8]
    (front,) = fronts(purified.live)
    counted, plain = (
        account(base, one, card.shape) for one in (purified, apply(base, {"name": "ptq"}))
    )
    assert counted.parameters == plain.parameters + count_parameters(front)
    assert counted.macs > plain.macs
    norms = [one for one in front.modules() if isinstance(one, nn.BatchNorm2d)]
    statistics = sum(2 * one.num_features for one in norms)
    more = 4 * (count_parameters(front) + statistics)
    assert counted.packed_bytes == plain.packed_bytes + more
    compression.save(purified, card, tmp_path)
    expected = purified.deployed()(images)
    assert torch.equal(compression.load(tmp_path).deployed()(images), expected)
    file = pack(purified, card)
    assert len(payload_of(file)) == counted.packed_bytes
    assert torch.equal(unpack(file)(images), expected)


def test_a_stopped_training_goes_on(
    base: nn.Module, digits: data.ImageSet, tmp_path: Path, one_thread: None
) -> None:
    assert_ends_the_same(base, STEP, digits, tmp_path, stops=(1,))


def test_what_comes_behind_works_on_the_denoiser_too(
    base: nn.Module, digits: data.ImageSet
) -> None:
    variant = apply(base, STEP, {"name": "magnitude", "sparsity": 0.5}, training=digits)
    front = next(iter(fronts(variant.deployed())))
    assert any(not weight.all() for weight in front.parameters() if weight.dim() == 4)
    with pytest.raises(SpecError, match="channel cannot follow purify"):
        check_recipe(tuple(map(make_step, (STEP, {"name": "channel"}))))


def test_it_trains_where_it_is_told_to(base: nn.Module) -> None:
    quick = {**STEP, "epochs": 1, "optimizer": "sgd"}  # Adam asks for streams of a real device
    with SimulatedDevice():
        variant = apply(base, quick, training=few_digits(40), device=torch.device("cuda:0"))
    assert {one.device.type for one in variant.live.parameters()} == {"cpu"}


def test_it_needs_images(base: nn.Module) -> None:
    with pytest.raises(SpecError, match="purify: this dataset has no training images"):
        apply(base, STEP)
