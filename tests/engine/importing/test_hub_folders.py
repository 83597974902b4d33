"""Folders of Hugging Face and timm, made as those packages make them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.errors import ModelError
from engine.importing.candidate_model import Patient
from engine.importing.read import sha256
from engine.importing.state_dict_file import from_file
from engine.importing.transformers_names import renamed
from engine.models import outside
from tests.helpers.layouts import KuangResNet18


def opened(folder: Path) -> Patient:
    found = from_file(folder, part=None, architecture=None, density=None, shape=None)
    assert found is not None
    return found


def written(folder: Path, config: object, state: dict[str, Tensor], **others: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for name, content in others.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    save_file(state, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return KuangResNet18(width=4).state_dict()


def test_weights_and_constants_come_from_the_folder(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    images = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}
    found = opened(written(tmp_path / "net", {}, state, preprocessor_config=images))
    assert found.architecture == "resnet-18-w4"
    assert all(torch.equal(found.state[key], one) for key, one in state.items())
    assert found.settled
    assert found.scaling is not None
    assert (found.scaling.mean, found.scaling.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))


@pytest.mark.parametrize(
    ("images", "mean"),
    [
        ({"do_rescale": False, "image_mean": [51.0], "image_std": [255.0]}, 0.2),
        ({"do_normalize": False, "image_mean": [0.5], "image_std": [0.5]}, None),
    ],
)
def test_images_are_scaled_as_the_processor_does(
    images: dict[str, object], mean: float | None, state: dict[str, Tensor], tmp_path: Path
) -> None:
    found = opened(written(tmp_path / "net", {}, state, preprocessor_config=images))
    assert found.settled
    assert (found.scaling and found.scaling.mean[0]) == (mean and pytest.approx(mean))


def test_shards_are_put_together(state: dict[str, Tensor], tmp_path: Path) -> None:
    names = sorted(state)
    folder = written(tmp_path / "net", {}, {key: state[key] for key in names[::2]})
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    save_file({key: state[key] for key in names[1::2]}, folder / "b.safetensors")
    places = {key: "ab"[place % 2] + ".safetensors" for place, key in enumerate(names)}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert opened(folder).state.keys() == state.keys()
    before = sha256(folder)
    save_file({key: state[key] + 1 for key in names[1::2]}, folder / "b.safetensors")
    assert sha256(folder) != before


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "x/../y", ".."])
def test_an_index_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "net", {}, {"w": torch.zeros(2, 2)})
    save_file({"w": torch.zeros(2, 2)}, tmp_path / "secret.safetensors")
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(ModelError, match="outside of the folder"):
        opened(folder)


def test_old_weights_are_read_without_running(state: dict[str, Tensor], tmp_path: Path) -> None:
    folder = written(tmp_path / "net", {}, state)
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert opened(folder).state.keys() == state.keys()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02cposix\nsystem\nX\x01\0\0\0x\x85R.")
    with pytest.raises(ModelError, match=r"asks for posix\.system"):
        opened(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "is no JSON object"),
        (b"{", "is no JSON object"),
        (b"[" * 100_000, "is no JSON object"),
        (b" " * (2**20 + 1), "larger than 1 MB"),
    ],
)
def test_a_damaged_configuration_is_told(content: bytes, message: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "net", {}, {"w": torch.zeros(2, 2)})
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        opened(folder)


def test_a_folder_without_weights_says_what_it_holds(tmp_path: Path) -> None:
    folder = written(tmp_path / "net", {}, {"w": torch.zeros(2, 2)})
    (folder / "model.safetensors").rename(folder / "tf_model.h5")
    with pytest.raises(ModelError, match="but no weights") as caught:
        opened(folder)
    assert "tf_model.h5" in caught.value.hint


# timm


@pytest.fixture
def _timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of one network, with the functions of timm that are called."""
    timm = ModuleType("timm")
    timm.is_model = lambda name: name == "tiny"
    timm.list_models = lambda: ["tiny"]
    timm.create_model = lambda name, pretrained, num_classes, in_chans: nn.Sequential(
        nn.Conv2d(in_chans, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
    )
    real = outside.package
    monkeypatch.setattr(
        outside, "package", lambda name, extra: timm if name == "timm" else real(name, extra)
    )


@pytest.mark.usefixtures("_timm")
@pytest.mark.parametrize("nested", [True, False])
def test_timm_builds_what_the_configuration_names(nested: bool, tmp_path: Path) -> None:
    constants = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "num_classes": 7}
    config = {"architecture": "tiny", **({"pretrained_cfg": constants} if nested else constants)}
    weights = {"0.weight": torch.rand(4, 3, 3, 3), "0.bias": torch.rand(4),
               "3.weight": torch.rand(7, 4), "3.bias": torch.rand(7)}  # fmt: skip
    found = opened(written(tmp_path / "net", config, weights))
    assert (found.architecture, found.classes) == ("timm.tiny", 7)
    assert found.settled
    assert found.scaling is not None
    assert (found.scaling.mean, found.scaling.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert torch.equal(found.network((3, 8, 8), None).state_dict()["3.bias"], weights["3.bias"])


# transformers

RESNET = {"architectures": ["ResNetForImageClassification"]}
VIT = {"architectures": ["ViTForImageClassification"]}


def bare(name: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        net: nn.Module = torchvision.models.get_model(name)
    return {key: one for key, one in net.state_dict().items() if "num_batches" not in key}


def test_a_resnet_of_transformers_has_the_names_of_torchvision() -> None:
    theirs: dict[str, Tensor] = {}
    for key, one in bare("resnet50").items():
        parts = key.split(".")
        end, kind = parts[-1], {"c": "convolution", "b": "normalization"}
        if parts[0] == "fc":
            name = f"classifier.1.{end}"
        elif not parts[0].startswith("layer"):
            name = f"resnet.embedder.embedder.{kind[parts[0][0]]}.{end}"
        else:
            place = f"resnet.encoder.stages.{int(parts[0][5:]) - 1}.layers.{parts[1]}"
            if parts[2] == "downsample":
                name = f"{place}.shortcut.{kind['cb'[int(parts[3])]]}.{end}"
            else:
                name = f"{place}.layer.{int(parts[2][-1]) - 1}.{kind[parts[2][0]]}.{end}"
        theirs[name] = one
    found, notes = renamed(theirs, RESNET, "net")
    assert {key: one.shape for key, one in found.items()} == {
        key: one.shape for key, one in bare("resnet50").items()
    }
    assert notes == ()


def test_query_key_and_value_become_one_matrix() -> None:
    block = "vit.encoder.layer.3.attention.attention"
    parts = {name: torch.rand(4, 4) for name in ("value", "query", "key")}
    theirs = {f"{block}.{name}.weight": one for name, one in parts.items()}
    theirs |= {"vit.embeddings.cls_token": torch.rand(1, 1, 4), "classifier.bias": torch.rand(2)}
    found, notes = renamed(theirs, VIT, "net")
    joined = torch.cat([parts["query"], parts["key"], parts["value"]])
    ours = "encoder.layers.encoder_layer_3.self_attention.in_proj_weight"
    assert set(found) == {ours, "class_token", "heads.head.bias"}
    assert torch.equal(found[ours], joined)
    assert "1e-12" in notes[0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architectures": ["SwinForImageClassification"]}, "a SwinForImageClassification"),
        ({**RESNET, "hidden_act": "gelu"}, "hidden_act = gelu, but only relu"),
        ({**RESNET, "downsample_in_bottleneck": True}, "downsample_in_bottleneck = True"),
        ({**VIT, "qkv_bias": False}, "qkv_bias = False"),
    ],
)
def test_other_networks_of_transformers_are_told(
    config: dict[str, object], message: str, tmp_path: Path
) -> None:
    folder = written(tmp_path / "net", config, {"w": torch.zeros(2, 2)})
    with pytest.raises(ModelError, match=message) as caught:
        opened(folder)
    assert "net.py:make" in caught.value.hint
