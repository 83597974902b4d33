"""Published weights come from a server on this machine that is as bad as the real ones."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn
from torchvision import models

from engine.errors import DownloadError, ModelError
from engine.models.outside import fetch
from tests.helpers.file_server import FileServer, file_server

SHAPE = (3, 64, 64)
NAME = "shufflenet_v2_x0_5"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as state:
        yield state


@pytest.fixture(scope="module")
def network() -> nn.Module:
    net: nn.Module = models.get_model(NAME)
    return net.eval()


@pytest.fixture
def hub_folder(
    server: FileServer, network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Where torch keeps weights; torchvision has a file of random ones on the server."""
    torch.save(network.state_dict(), tmp_path / "net.pth")
    content = (tmp_path / "net.pth").read_bytes()
    file = f"{NAME}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    server.files[f"/{file}"] = content
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    weights = models.get_model_weights(NAME).DEFAULT
    monkeypatch.setattr(weights.value, "url", f"{server.url}/{file}")
    return tmp_path / "torch" / "hub" / "checkpoints"


def same(found: nn.Module, network: nn.Module) -> bool:
    ours, theirs = found.state_dict(), network.state_dict()
    return all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_weights_that_were_cut_off_go_on_where_they_stopped(
    server: FileServer, hub_folder: Path, network: nn.Module
) -> None:
    server.cut = 1_000_000
    with pytest.raises(DownloadError, match=r"ended after 1,000,000 of [\d,]+ bytes") as caught:
        fetch(f"torchvision.{NAME}", SHAPE, 1000)
    assert "goes on where it stopped" in caught.value.hint
    assert [path.suffix for path in hub_folder.iterdir()] == [".part"]
    server.cut = None
    found = fetch(f"torchvision.{NAME}", SHAPE, 1000)
    assert same(found.module, network)
    assert [asked for _, asked in server.asked] == ["", "bytes=1000000-"]
    assert [path.suffix for path in hub_folder.iterdir()] == [".pth"]
    fetch(f"torchvision.{NAME}", SHAPE, 1000)
    assert len(server.asked) == 2, "it is there"


def test_weights_with_another_hash_are_refused_and_deleted(
    server: FileServer, hub_folder: Path
) -> None:
    (path,) = server.files
    server.files[path] = server.files[path][:-1] + b"!"
    with pytest.raises(DownloadError, match="has another checksum than published"):
        fetch(f"torchvision.{NAME}", SHAPE, 1000)
    assert list(hub_folder.iterdir()) == []


def test_the_progress_of_weights_is_a_bar(
    server: FileServer, hub_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(f"torchvision.{NAME}", SHAPE, 1000)
    said = capsys.readouterr()
    assert said.out == ""
    assert "100%" in said.err
    assert f"{NAME}-" in said.err


def as_module(name: str, monkeypatch: pytest.MonkeyPatch, **members: Any) -> None:
    module = ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def of_timm(
    server: FileServer, network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> bytes:
    """A stand-in for timm that loads what it is given, as timm does; its file on a hub."""
    content = save(network.state_dict())
    half = (0.5, 0.5, 0.5)

    def create(name: str, pretrained: bool, pretrained_cfg_overlay: dict[str, Any]) -> nn.Module:
        assert (name, pretrained) == ("tiny.in1k", True)
        assert pretrained_cfg_overlay["custom_load"] is False
        net: nn.Module = models.get_model(NAME)
        net.load_state_dict(load_file(pretrained_cfg_overlay["file"]))
        return net

    place = {"hf_hub_id": "timm/tiny.in1k", "hf_hub_filename": None, "url": None}
    cfg = SimpleNamespace(**place, custom_load=False, mean=half, std=half)
    known = {"tiny.in1k": cfg, "bare": None}

    def weights_of(name: str) -> SimpleNamespace | None:
        if name not in known:
            raise RuntimeError("Invalid pretrained tag")
        return known[name]

    as_module(
        "timm",
        monkeypatch,
        is_model=lambda name: name != "none",
        get_pretrained_cfg=weights_of,
        list_models=lambda pretrained: list(known),
        create_model=create,
    )
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("CRUMPLE_WEIGHTS", str(tmp_path / "weights"))
    server.files["/cdn/file"] = content
    etag = {"X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
    server.moved["/timm/tiny.in1k/resolve/main/model.safetensors"] = ("/cdn/file", etag)
    return content


def test_weights_of_the_hub_are_resumed_and_checked(
    server: FileServer, of_timm: bytes, network: nn.Module, tmp_path: Path
) -> None:
    server.cut = 1_000_000
    with pytest.raises(DownloadError, match="ended after 1,000,000"):
        fetch("timm.tiny.in1k", SHAPE, 1000)
    server.cut = None
    found = fetch("timm.tiny.in1k", SHAPE, 1000)
    assert same(found.module, network)
    assert found.mean == (0.5, 0.5, 0.5)
    assert server.asked[-1] == ("/cdn/file", "bytes=1000000-")
    (file,) = (tmp_path / "weights").rglob("*.*")
    assert file.name == "tiny.in1k.safetensors"


def test_another_file_of_the_hub_than_it_says_is_deleted(
    server: FileServer, of_timm: bytes, tmp_path: Path
) -> None:
    server.files["/cdn/file"] = of_timm[:-1] + b"!"
    with pytest.raises(DownloadError, match="has another checksum than published"):
        fetch("timm.tiny.in1k", SHAPE, 1000)
    assert list((tmp_path / "weights").rglob("*.*")) == []


def test_a_network_of_timm_without_weights_is_one_sentence(of_timm: bytes) -> None:
    with pytest.raises(ModelError, match="timm has no weights for 'bare'") as caught:
        fetch("timm.bare", SHAPE, 1000)
    assert "crumple list models --published" in caught.value.hint
    with pytest.raises(ModelError, match=r"no classification model 'tiny.in2k'") as caught:
        fetch("timm.tiny.in2k", SHAPE, 1000)
    assert "tiny.in1k" in caught.value.hint


class Drive:
    """A stand-in for gdown: files by id; what is not there makes it fail."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, bool]] = []

    def download(self, id: str, output: str, resume: bool) -> str:
        self.asked.append((id, resume))
        if id not in self.files:
            raise RuntimeError("Too many users have viewed this file\nlately")
        Path(output).write_bytes(self.files[id])
        return output


@pytest.fixture
def drive(network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drive:
    """RobustBench, which loads what lies in its folder, and Google Drive."""
    state = Drive()
    torch.save(network.state_dict(), tmp_path / "net.pt")
    state.files["good"] = (tmp_path / "net.pt").read_bytes()
    state.files["half"] = state.files["good"][:5000]

    def load(name: str, model_dir: Path, dataset: str, threat_model: str) -> nn.Module:
        net: nn.Module = models.get_model(NAME)
        file = model_dir / dataset / threat_model / f"{name}.pt"
        net.load_state_dict(torch.load(file, weights_only=True))
        return net

    entries = {one: {"gdrive_id": one, "model": None} for one in ("good", "half", "gone")}
    datasets, threats = Enum("Datasets", {"one": "cifar10"}), Enum("Threats", {"one": "Linf"})
    zoo = {datasets.one: {threats.one: entries}}  # type: ignore[attr-defined]
    as_module("robustbench", monkeypatch)
    as_module("robustbench.model_zoo", monkeypatch, model_dicts=zoo)
    as_module("robustbench.utils", monkeypatch, load_model=load)
    as_module("gdown", monkeypatch, download=state.download)
    monkeypatch.setenv("CRUMPLE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)
    return state


def test_weights_of_robustbench_lie_in_our_folder_and_are_fetched_once(
    drive: Drive, network: nn.Module, tmp_path: Path
) -> None:
    for _ in range(2):
        found = fetch("robustbench.Linf.good", (3, 32, 32), 10)
        assert same(found.module, network)
    assert drive.asked == [("good", True)]
    assert (tmp_path / "weights/robustbench/cifar10/Linf/good.pt").is_file()
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("gone", "does not give the file gone: Too many users .* this file", "try again later"),
        ("half", "robustbench.Linf.half cannot be loaded", "delete it in"),
    ],
)
def test_what_drive_does_not_give_is_one_sentence(
    name: str, message: str, hint: str, drive: Drive
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        fetch(f"robustbench.Linf.{name}", (3, 32, 32), 10)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)
