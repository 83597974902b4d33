"""Denormal weights are zero wherever they are computed with, and change nothing but the speed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from engine import compression, models
from engine.compression.variant import Variant
from engine.importing.doctor import Request, import_model
from engine.models.denormals import THRESHOLD, without_denormals, zero_denormals
from engine.specs.choices import Step
from engine.specs.dataset import DatasetSpec
from tests.helpers.checkpoints import ask, labelled, lively, pictures
from tests.helpers.layouts import KuangResNet18


@pytest.mark.parametrize("flushing", [False, True])
def test_they_are_told_alike_whatever_the_processor_does_with_them(flushing: bool) -> None:
    kept = [0.0, -0.0, THRESHOLD, -THRESHOLD, 1e-30, 1.0, float("inf"), float("-inf")]
    gone = [THRESHOLD / 2, -THRESHOLD / 2, 1e-43, -1e-45]
    tensor = torch.tensor([*kept, *gone, float("nan")])
    if not torch.set_flush_denormal(flushing):
        pytest.skip("this processor cannot")
    try:
        found, count = without_denormals(tensor)
    finally:
        torch.set_flush_denormal(False)
    assert count == len(gone)
    assert torch.equal(found[: len(kept)], tensor[: len(kept)])
    assert found[len(kept) : -1].tolist() == [0.0] * len(gone)
    assert bool(found[-1].isnan())
    same = torch.rand(3)
    assert without_denormals(same)[0] is same


def sleepy(images: torch.Tensor) -> nn.Module:
    """A network in which every fourth weight is denormal."""
    model = lively(KuangResNet18(width=4), images)
    for parameter in model.parameters():
        if parameter.dim() == 4:
            flat = parameter.data.view(-1)
            flat[::4] = flat[::4].sign() * 1e-40
    return model


def _spread(model: nn.Module, images: torch.Tensor) -> None:
    """Logits of every class around zero, so that the network's own labels are of several."""
    with torch.no_grad():
        found = model(images)
        model.linear.bias -= found.mean(dim=0)  # type: ignore[operator,union-attr]
    assert len(set(ask(model, images).argmax(dim=1).tolist())) > 2


def test_an_imported_model_has_none_and_says_how_many_there_were(tmp_path: Path) -> None:
    images = pictures(60)
    model = sleepy(images)
    _spread(model, images)
    weights = sum(one.numel() for one in model.parameters() if one.dim() == 4)
    labelled(model, images, tmp_path / "x.npz")
    torch.save(model.state_dict(), tmp_path / "m.pt")
    spec = DatasetSpec.model_validate({"npz": str(tmp_path / "x.npz")})
    done = import_model(Request(file=str(tmp_path / "m.pt"), dataset=spec), tmp_path / "library")
    count = sum(-(-one.numel() // 4) for one in model.parameters() if one.dim() == 4)
    (note,) = (one for one in done.report.notes if "denormal" in one)
    assert f"{count:,} of its" in note
    assert done.report.density == pytest.approx(1 - count / (weights + 32 * 10), abs=1e-3)
    assert done.card is not None
    assert note in done.card.notes
    loaded = models.load(done.card, tmp_path / "library")
    assert zero_denormals(loaded) == 0
    assert torch.equal(ask(loaded, images), ask(model, images))


def test_a_stored_model_that_has_some_is_loaded_without(tmp_path: Path) -> None:
    from engine.models.files.bundle import save

    images = pictures(8, side=8)
    model = lively(models.build("digits-cnn", (3, 8, 8), 10), images)
    model[0].weight.data.view(-1)[::2] = 1e-41  # type: ignore[index, union-attr]
    fields = {"id": "m", "title": "", "summary": "", "architecture": "digits-cnn", "dataset": "npz",
              "shape": (3, 8, 8), "classes": 10, "clean_accuracy": 1.0, "test_images": 8,
              "recipe": {}, "origin": "imported"}  # fmt: skip
    loaded = models.load(save(model, fields, tmp_path), tmp_path)
    assert zero_denormals(loaded) == 0
    assert torch.equal(ask(loaded, images), ask(model, images))


class Dead(nn.Module):
    """A filter of zeros, one of 1e-30, one of 1e-43, and a dead ReLU."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(1, 7, 3, padding=1), nn.BatchNorm2d(7), nn.ReLU(),
            nn.Conv2d(7, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 9, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(36, 10),
        )  # fmt: skip
        weight = self.body[3].weight.data
        weight[0] = 0
        weight[1] *= 1e-30
        weight[2] = weight[2].sign() * 1e-43
        self.body[3].bias.data[3] = -100.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)  # type: ignore[no-any-return]


RECIPES = {
    "none": (),
    "magnitude": (Step(name="magnitude", params={"sparsity": 0.5}),),
    "filter": (Step(name="filter", params={"ratio": 0.3}),),
    "nm": (Step(name="nm-sparsity", params={"indivisible": "dense"}),),
    "w2": (Step(name="ptq", params={"bits": 2}),),
    "w8a8": (Step(name="ptq", params={"bits": 8, "activation_bits": 8}),),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_dead_filters_stay_finite_under_recipes(recipe: str) -> None:
    with torch.random.fork_rng(devices=[]):
        model = Dead().eval()
    images = pictures(16, side=8, channels=1)
    context = compression.Context(calibration=images, seed=0, shape=(1, 8, 8))
    variant = compression.apply(model, RECIPES[recipe], context)
    for network in (variant.deployed(), variant.attack_view()):
        assert zero_denormals(network) == 0
        assert bool(ask(network, images).isfinite().all())
    if not recipe or recipe == "none":
        assert torch.equal(ask(variant.deployed(), images), ask(model, images))


def test_what_is_deployed_has_none_however_they_came_about() -> None:
    """Weight decay on masked weights leaves them in a variant."""
    layer = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    layer[1].weight.data.fill_(1e-42)
    variant = Variant(layer, ())
    assert int(variant.deployed()[1].weight.count_nonzero()) == 0  # type: ignore[index, union-attr, operator]
    assert int(layer[1].weight.count_nonzero()) == 8
