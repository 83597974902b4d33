"""Bundled models: cards tell the truth, damaged files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from engine import catalog, data, models
from engine.catalog.models.cards import read_card
from engine.errors import ModelError
from engine.host import paths
from engine.models.files.tensors import tensor_bytes
from engine.specs.dataset import DatasetSpec

BUNDLED = ("digits-resnet", "digits-resnet-at")


@pytest.mark.parametrize("name", BUNDLED)
def test_card_matches_the_weights(name: str) -> None:
    card = catalog.model_card(name)
    model = models.load(card)
    test = data.load(DatasetSpec(name="digits"), seed=0)
    with torch.no_grad():
        hits = (model(test.images).argmax(1) == test.labels).double().mean()
    assert float(hits) == pytest.approx(card.clean_accuracy, abs=1e-9)
    assert card.test_images == len(test)
    assert models.fingerprint(model) == card.fingerprint
    assert sum(p.numel() for p in model.parameters()) == card.parameters
    assert not model.training


def _copy(folder: Path, name: str = "digits-resnet") -> tuple[catalog.ModelCard, Path]:
    card = catalog.model_card(name)
    weights = folder / f"{card.id}.safetensors"
    weights.write_bytes((paths.resources() / "models" / weights.name).read_bytes())
    return card, weights


@pytest.mark.parametrize("length", [0, 7, 1000, -1])
def test_truncated_weights(length: int, tmp_path: Path) -> None:
    card, weights = _copy(tmp_path)
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(ModelError, match=r"digits-resnet.safetensors is truncated"):
        models.load(card, tmp_path)


def test_one_changed_byte_is_noticed(tmp_path: Path) -> None:
    card, weights = _copy(tmp_path)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="not those its card describes"):
        models.load(card, tmp_path)


def test_weights_of_another_architecture_or_model(tmp_path: Path) -> None:
    card, weights = _copy(tmp_path)
    weights.write_bytes(tensor_bytes(nn.Linear(3, 2)))
    with pytest.raises(ModelError, match="does not fit the architecture"):
        models.load(card, tmp_path)
    other = paths.resources() / "models" / "digits-resnet-at.safetensors"
    weights.write_bytes(other.read_bytes())
    with pytest.raises(ModelError, match="not those its card describes"):
        models.load(card, tmp_path)


def test_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        models.load(catalog.model_card("digits-resnet"), tmp_path)


def test_save_and_load_again(tmp_path: Path) -> None:
    card = catalog.model_card("digits-resnet")
    model = models.load(card)
    measured = {"parameters", "fingerprint"}
    saved = models.save(model, card.model_dump(exclude=measured), tmp_path)
    assert saved == card == read_card(tmp_path / f"{card.id}.json")
    assert models.fingerprint(models.load(saved, tmp_path)) == card.fingerprint
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".safetensors"]


def test_fingerprint_sees_names_values_and_buffers() -> None:
    def net(**changes: torch.Tensor) -> nn.Module:
        module = nn.BatchNorm2d(2)
        module.load_state_dict({**module.state_dict(), **changes})
        return module

    base = models.fingerprint(net())
    assert base == models.fingerprint(net())
    assert base != models.fingerprint(net(weight=torch.tensor([1.0, 2.0])))
    assert base != models.fingerprint(net(running_mean=torch.tensor([0.0, 1e-9])))
    assert base != models.fingerprint(nn.Sequential(net()))


def test_build_is_seeded_and_leaves_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    prints = [
        models.fingerprint(models.build("digits-resnet", (1, 8, 8), 10, s)) for s in (0, 0, 1)
    ]
    assert prints[0] == prints[1] != prints[2]
    assert torch.equal(before, torch.get_rng_state())


def test_unknown_architecture() -> None:
    with pytest.raises(ModelError, match="no architecture 'vgg'"):
        models.build("vgg", (1, 8, 8), 10)
