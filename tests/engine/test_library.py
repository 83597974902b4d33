"""The model library: beside the database, read fresh, and never a reason to crash."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest
import torch
from torch import fx, nn

from engine import catalog, compression, models
from engine.catalog.models import Normalisation, folder_of
from engine.errors import ModelError, SpecError
from engine.models import outside, registry
from engine.models.normalised import Normalised
from engine.specs import make_step
from engine.store.artifacts import folder_of as artifacts_of
from engine.store.artifacts import models_of

MEASURED = {"parameters", "fingerprint"}


def put(folder: Path, id_: str, **changes: object) -> catalog.ModelCard:
    """A copy of a bundled model under another name."""
    card = catalog.model_card("digits-resnet")
    fields = card.model_dump(exclude=MEASURED) | {"id": id_, "origin": "imported"} | changes
    module = models.load(card)
    if changes.get("normalisation"):
        found = Normalisation.model_validate(changes["normalisation"])
        module = Normalised(module, found.mean, found.std)
    return models.save(module, fields, folder)


def test_it_lies_with_the_artifacts(tmp_path: Path) -> None:
    assert models_of(tmp_path / "a.db") == artifacts_of(tmp_path / "a.db") / "models"


def test_models_come_and_go(tmp_path: Path) -> None:
    bundled = list(catalog.section("models"))
    catalog.use_library(tmp_path / "models")
    assert list(catalog.section("models")) == bundled
    card = put(tmp_path / "models", "mine")
    assert list(catalog.section("models")) == [*bundled, "mine"]
    assert catalog.model_card("mine") == card
    assert catalog.models.cards() is catalog.models.cards()
    assert catalog.find("models", "mine").family == "imported"
    image = torch.rand(2, 1, 8, 8)
    expected = models.load(catalog.model_card("digits-resnet"))(image)
    assert torch.equal(models.load(card)(image), expected)
    put(tmp_path / "models", "mine", title="Another")
    assert catalog.model_card("mine").title == "Another"
    (tmp_path / "models" / "mine.json").unlink()
    with pytest.raises(SpecError, match="no model 'mine'"):
        catalog.model_card("mine")
    put(tmp_path / "models", "mine")
    catalog.use_library(None)
    assert list(catalog.section("models")) == bundled
    with pytest.raises(ModelError, match="no library is in use"):
        folder_of(card)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"id": "bad"}', "\x00\x01", "[" * 100_000, '{"id": "x", "a": 1e999}']
)
def test_a_broken_card_is_skipped_with_a_warning(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "mine")
    (tmp_path / "bad.json").write_text(text)
    catalog.use_library(tmp_path)
    with caplog.at_level(logging.WARNING):
        found = catalog.section("models")
    assert "mine" in found
    assert "bad" not in found
    assert "bad.json" in caplog.text


def test_a_card_cannot_pass_for_another_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "mine")
    card = json.loads((tmp_path / "mine.json").read_text())
    (tmp_path / "digits-resnet.json").write_text(json.dumps({**card, "id": "digits-resnet"}))
    (tmp_path / "other.json").write_text(json.dumps(card))
    (tmp_path / "sham.json").write_text(json.dumps({**card, "id": "sham", "origin": "bundled"}))
    catalog.use_library(tmp_path)
    assert catalog.model_card("digits-resnet").origin == "bundled"
    assert not {"other", "sham"} & set(catalog.section("models"))
    assert caplog.text.count("bears another model's name") == 3


def test_old_cards_stay_valid() -> None:
    card = catalog.model_card("digits-resnet")
    assert (card.origin, card.source, card.normalisation, card.history) == (
        "bundled", None, None, (),
    )  # fmt: skip


@pytest.mark.parametrize("std", [(), (0.0,), (-1.0,), (float("inf"),), (float("nan"),)])
def test_an_impossible_normalisation(std: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Normalisation(mean=(0.0,), std=std)


def test_normalisation_is_part_of_the_model(tmp_path: Path) -> None:
    catalog.use_library(tmp_path)
    card = put(tmp_path, "mine", normalisation={"mean": (0.3,), "std": (0.4,)})
    module = models.load(card)
    image = torch.rand(4, 1, 8, 8)
    plain = models.load(catalog.model_card("digits-resnet"))
    with torch.no_grad():
        assert torch.equal(module(image), plain((image - 0.3) / 0.4))
    step = make_step({"name": "ptq", "bits": 4, "activation_bits": 8})
    variant = compression.apply(module, (step,), compression.Context(image))
    compression.save(variant, card, tmp_path / "variant")
    again = compression.load(tmp_path / "variant")
    with torch.no_grad():
        assert torch.equal(again.deployed()(image), variant.deployed()(image))


def test_batch_norm_is_folded_behind_a_normalisation() -> None:
    inner = models.build("resnet-20", (3, 8, 8), 10).eval()
    module = Normalised(inner, (0.4,) * 3, (0.2,) * 3).eval()
    view = compression.apply(module, (), compression.Context()).attack_view()
    assert not any(isinstance(one, nn.BatchNorm2d) for one in view.modules())
    image = torch.rand(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(view(image), module(image), atol=1e-4)
    assert fx.Tracer().trace(module)


@pytest.mark.parametrize("name", ["timm.resnet18", "robustbench.Linf.Sehwag2020Hydra"])
def test_an_extra_that_is_absent(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = name.partition(".")[0]
    for module in (extra, f"{extra}.model_zoo"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModelError, match=rf"'{extra}' is not installed.*pip install") as caught:
        models.build(name, (3, 32, 32), 10)
    assert "pip install" in caught.value.hint


def test_torchvision_by_name() -> None:
    module = registry.bare("torchvision.resnet18", (3, 64, 64), 7)
    assert module.state_dict()["fc.weight"].shape == (7, 512)
    with pytest.raises(ModelError, match=r"no classification model 'resnet19'.*resnet18"):
        models.build("torchvision.resnet19", (3, 64, 64), 7)
    with pytest.raises(ModelError, match="no classification model"):
        models.build("torchvision.fasterrcnn_resnet50_fpn", (3, 64, 64), 7)
    with pytest.raises(ModelError, match="3 channels"):
        models.build("torchvision.resnet18", (1, 64, 64), 7)
    assert "resnet50" in outside.torchvision_names()


@pytest.mark.parametrize("name", ["wrn-27-4", "wrn-28-99", "wrn-9999-1", "resnet-18-w0", "timm."])
def test_numbers_that_no_network_has(name: str) -> None:
    with pytest.raises(ModelError, match=f"no architecture '{name}'"):
        models.build(name, (3, 32, 32), 10)
