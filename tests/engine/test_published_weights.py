"""The list of published weights is that of torchvision."""

from __future__ import annotations

import sys

import pytest
from torch import nn
from torchvision import models

from engine.catalog.published import published
from engine.models.outside import fetch, is_published, torchvision_names
from engine.specs import DatasetSpec


def test_all_that_torchvision_has_is_listed() -> None:
    names = [one.name for one in published()]
    assert len(set(names)) == len(names)
    assert {f"torchvision.{name}" for name in torchvision_names()} <= set(names)


@pytest.mark.parametrize("one", published(), ids=lambda one: one.name)
def test_numbers_are_those_of_torchvision(one: object) -> None:
    assert is_published(one.name)  # type: ignore[attr-defined]
    name = one.name.partition(".")[2]  # type: ignore[attr-defined]
    if name not in torchvision_names():
        pytest.skip(f"this torchvision has no {name}")
    weights = models.get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    found = (
        weights.meta["num_params"],
        weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100,
        weights.meta["_file_size"],
        transforms.resize_size[0],
        transforms.crop_size[0],
    )
    said = (one.parameters, one.accuracy, one.megabytes, one.resize, one.crop)  # type: ignore[attr-defined]
    assert said == pytest.approx(found, abs=1e-5)
    assert DatasetSpec.model_validate(one.images()).crop_size == transforms.crop_size[0]  # type: ignore[attr-defined]


def test_what_a_package_says_of_its_download_is_no_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def download(name: str, **options: object) -> nn.Module:
        sys.stdout.write(f"Downloading {name}\n")
        return nn.Identity()

    monkeypatch.setattr(models, "get_model", download)
    found = fetch("torchvision.resnet18", (3, 224, 224), 1000)
    assert found.architecture == "torchvision.resnet18"
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "Downloading resnet18\n")
