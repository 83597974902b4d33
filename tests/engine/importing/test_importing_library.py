"""Models under ids of their own: none replaces another, and none is left half written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models as published

from engine import catalog, models
from engine.catalog.models import library
from engine.errors import ModelError
from engine.importing.doctor import Examined, Request, import_model
from engine.models import outside
from engine.specs.dataset import DatasetSpec
from tests.helpers.checkpoints import ask, labelled, lively, pictures
from tests.helpers.layouts import KuangResNet18
from tests.helpers.own_network import SHAPE, exported, own

HALF = (0.5, 0.5, 0.5)


def network(seed: int = 1) -> nn.Module:
    return lively(KuangResNet18(width=4), pictures(40), seed)


def bring(tmp_path: Path, file: str, net: nn.Module, side: int = 32, **wish: Any) -> Examined:
    labelled(net, pictures(40, side=side), tmp_path / "x.npz")
    spec = DatasetSpec.model_validate({"npz": str(tmp_path / "x.npz")})
    done = import_model(Request(file=file, dataset=spec, keep=True, **wish), tmp_path / "library")
    catalog.use_library(tmp_path / "library")
    return done


def saved(content: object, path: Path) -> str:
    path.parent.mkdir(exist_ok=True)
    torch.save(content, path)
    return str(path)


def files(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tmp_path / "library").iterdir()}


def names(tmp_path: Path) -> set[str]:
    return {name.removesuffix(".json") for name in files(tmp_path) if name.endswith(".json")}


def test_other_parts_and_normalisations_of_a_file_are_other_models(tmp_path: Path) -> None:
    first, second = network(1), network(2)
    both = {"state_dict": first.state_dict(), "ema": second.state_dict()}
    file = saved(both, tmp_path / "net.pt")
    bring(tmp_path, file, first)
    before = files(tmp_path)
    assert bring(tmp_path, file, second, part="ema").report.model == "net-2"
    scaled = bring(tmp_path, file, first, mean=HALF, std=HALF)
    assert scaled.report.model == "net-3"
    assert {name: files(tmp_path)[name] for name in before} == before
    images = pictures(4)
    for id_, net in (("net", first), ("net-2", second)):
        assert torch.equal(ask(models.load(catalog.model_card(id_)), images), ask(net, images))
    with pytest.raises(ModelError, match="a model 'net' already"):
        bring(tmp_path, file, second, part="ema", name="net")


def test_the_same_again_replaces_it_and_keeps_what_was_written(tmp_path: Path) -> None:
    net = network()
    file = saved({"state_dict": net.state_dict()}, tmp_path / "net.pt")
    for wish in ({}, {"mean": HALF, "std": HALF}, {"name": "Named"}):
        id_ = bring(tmp_path, file, net, **wish).report.model
        assert id_ is not None
        library.edit(
            catalog.model_card(id_), tmp_path / "library", title=f"T {id_}", remark=f"R {id_}"
        )
        again = bring(tmp_path, file, net, **wish)
        assert again.report.model == id_
        assert again.card is not None
        assert again.card.remark == f"R {id_}"
        assert again.card.title == wish.get("name", f"T {id_}")
        assert len(again.card.history) == 2
    assert names(tmp_path) == {"net", "net-2", "named"}


def test_a_program_again_is_the_same_model(tmp_path: Path) -> None:
    net = own()
    file = str(exported(tmp_path / "own.pt2", net))
    for _ in range(2):
        assert bring(tmp_path, file, net, side=SHAPE[1]).report.model == "own"
    assert names(tmp_path) == {"own"}


@pytest.mark.parametrize("harm", ["unreadable", "no card"])
def test_a_model_whose_card_cannot_be_read_is_not_replaced(harm: str, tmp_path: Path) -> None:
    net = network()
    file = saved(net.state_dict(), tmp_path / "net.pt")
    bring(tmp_path, file, net)
    card = tmp_path / "library" / "net.json"
    if harm == "no card":
        card.unlink()
    else:
        card.write_text(json.dumps({**json.loads(card.read_text()), "of_tomorrow": 1}))
    before = files(tmp_path)
    other = network(2)
    with pytest.raises(ModelError, match="a model 'net' already"):
        bring(tmp_path, saved(other.state_dict(), tmp_path / "o" / "a.pt"), other, name="net")
    done = bring(tmp_path, saved(other.state_dict(), tmp_path / "o" / "net.pt"), other)
    assert done.report.model == "net-2"
    assert {name: files(tmp_path)[name] for name in before} == before


def test_published_weights_have_the_name_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = lively(published.shufflenet_v2_x0_5(), pictures(8, side=64))
    state = net.state_dict()
    monkeypatch.setattr(published._api, "load_state_dict_from_url", lambda *_, **__: state)
    monkeypatch.setattr(outside, "of_torchvision", lambda url: None)
    asked = {"file": "torchvision.shufflenet_v2_x0_5", "net": net, "side": 64}
    done = [bring(tmp_path, **asked) for _ in range(2)]
    assert done[0].card is not None
    assert (done[0].card.title, done[0].card.id) == (
        "torchvision.shufflenet_v2_x0_5", "torchvision.shufflenet-v2-x0-5",
    )  # fmt: skip
    assert done[1].report.model == done[0].report.model
    assert names(tmp_path) == {"torchvision.shufflenet-v2-x0-5"}
    state["fc.bias"] = state["fc.bias"] + 1
    assert bring(tmp_path, **asked).report.model == "torchvision.shufflenet-v2-x0-5-2"
