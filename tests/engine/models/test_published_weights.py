"""The list of published weights is that of torchvision."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models import _api

from engine.catalog.models.published import PublishedWeights, published
from engine.errors import ModelError
from engine.importing.doctor import Request, import_model
from engine.importing.state_dict_file import from_file
from engine.importing.whole_network import from_published
from engine.models import load, outside
from engine.models.outside import fetch, is_published, torchvision_names
from engine.specs.dataset import DatasetSpec
from tests.helpers.checkpoints import ask, lively, pictures

OF_TORCHVISION = [one for one in published() if one.package == "torchvision"]


def test_all_that_torchvision_has_is_listed() -> None:
    names = [one.name for one in OF_TORCHVISION]
    assert {f"torchvision.{name}" for name in torchvision_names()} <= set(names)


@pytest.mark.parametrize("one", OF_TORCHVISION, ids=lambda one: one.name)
def test_numbers_are_those_of_torchvision(one: PublishedWeights) -> None:
    assert is_published(one.name)
    name = one.name.partition(".")[2]
    if name not in torchvision_names():
        pytest.skip(f"this torchvision has no {name}")
    weights = models.get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    found = (
        weights.meta["num_params"],
        weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100,
        weights.meta["_file_size"] * 2**20,
        transforms.resize_size[0],
        transforms.crop_size[0],
    )
    said = (one.parameters, one.clean_accuracy, one.size_bytes, one.resize, one.crop)
    assert said == pytest.approx(found, rel=1e-6)
    assert DatasetSpec.model_validate(one.images()).cut == (one.resize, one.crop)


def test_what_a_package_says_of_its_download_is_no_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def download(name: str, **options: object) -> nn.Module:
        sys.stdout.write(f"Downloading {name}\n")
        return nn.Identity()

    monkeypatch.setattr(models, "get_model", download)
    monkeypatch.setattr(outside, "of_torchvision", lambda url: None)
    found = fetch("torchvision.resnet18", (3, 224, 224), 1000)
    assert found.architecture == "torchvision.resnet18"
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "Downloading resnet18\n")


def test_robustbench_finds_autoattack_under_the_name_that_it_imports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if importlib.util.find_spec("pyautoattack") is None:
        pytest.skip("it comes with RobustBench")
    for name in [one for one in sys.modules if one.partition(".")[0] == "autoattack"]:
        monkeypatch.delitem(sys.modules, name)
    found = importlib.util.find_spec

    def hidden(name: str) -> Any:
        return None if name == "autoattack" else found(name)

    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    outside._name_autoattack()
    assert importlib.import_module("autoattack").AutoAttack
    assert importlib.import_module("autoattack.state").EvaluationState


def imagenet(images: torch.Tensor) -> torch.Tensor:
    scaling = models.get_model_weights("googlenet").DEFAULT.transforms()
    mean, std = (torch.tensor(one, dtype=images.dtype) for one in (scaling.mean, scaling.std))
    return (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)


@pytest.fixture(params=["googlenet", "inception_v3"])
def of_torchvision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """What torchvision gives with its weights, here random ones; nothing is downloaded."""
    name: str = request.param
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        net = models.get_model(name, init_weights=False, num_classes=1000)
    heads = {one: getattr(net, one) for one in ("aux1", "aux2", "AuxLogits") if hasattr(net, one)}
    for one in heads:
        setattr(net, one, None)
    lively(net, pictures(8, side=96))
    for one, head in heads.items():
        setattr(net, one, head)
    state = net.state_dict()
    monkeypatch.setattr(_api, "load_state_dict_from_url", lambda *_, **__: state)
    monkeypatch.setattr(outside, "of_torchvision", lambda url: None)
    weights = models.get_model_weights(name).DEFAULT
    real: nn.Module = models.get_model(name, weights=weights).eval()
    assert real.transform_input
    real.name, real.whole = name, state  # type: ignore[assignment]
    return real


def test_a_model_that_scales_by_itself_stays_the_same_network(
    of_torchvision: nn.Module, tmp_path: Path
) -> None:
    images = pictures(8, side=96)
    expected = ask(of_torchvision, imagenet(images))
    np.savez(
        tmp_path / "x.npz",
        x=(images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy(),
        y=expected.argmax(dim=1).numpy(),
    )
    spec = DatasetSpec.model_validate({"npz": str(tmp_path / "x.npz")})
    request = Request(file=f"torchvision.{of_torchvision.name}", dataset=spec, keep=True)
    done = import_model(request, tmp_path / "library")
    assert done.report.clean_accuracy == 1.0
    assert done.card is not None
    assert done.card.normalisation is not None
    assert set(done.card.normalisation.mean + done.card.normalisation.std) == {0.5}
    loaded = load(done.card, tmp_path / "library")
    exact = images.double()  # in float32, this depth makes 1e-3 of a rounding
    expected = ask(of_torchvision.double(), imagenet(exact))
    torch.testing.assert_close(ask(loaded.double(), exact), expected, rtol=1e-6, atol=1e-6)
    assert not any("aux" in key.lower() for key in loaded.state_dict())
    loaded.train()
    assert isinstance(loaded(exact), torch.Tensor)


def test_a_file_with_auxiliary_heads_is_read_without_them(
    of_torchvision: nn.Module, tmp_path: Path
) -> None:
    torch.save(of_torchvision.whole, tmp_path / "net.pth")
    patient = from_file(
        tmp_path / "net.pth", part=None, architecture=None, density=None, shape=(3, 96, 96)
    )
    assert patient is not None
    assert patient.architecture == f"torchvision.{of_torchvision.name}"
    assert any("auxiliary heads" in one for one in patient.dropped)
    images = pictures(2, side=96)
    of_torchvision.transform_input = False  # type: ignore[assignment]
    found = ask(patient.network((3, 96, 96), None), images)
    torch.testing.assert_close(found, ask(of_torchvision, images), rtol=1e-4, atol=1e-4)


def test_another_network_than_the_fetched_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same tensors, but the package changed what is done with them."""
    net = models.shufflenet_v2_x0_5().eval()
    net.register_forward_hook(lambda module, given, logits: logits + given[0].mean())
    images = npz_set(pictures(2, side=64))
    monkeypatch.setattr(outside, "of_torchvision", lambda url: None)
    monkeypatch.setattr(models, "get_model", lambda *_, **options: (
        net if "weights" in options else models.shufflenet_v2_x0_5()))  # fmt: skip
    with pytest.raises(ModelError, match="does not say what its builder's network says"):
        from_published("torchvision.shufflenet_v2_x0_5", images)


def npz_set(images: torch.Tensor) -> Any:
    return SimpleNamespace(shape=tuple(images.shape[1:]), class_names=("a", "b"))
