"""Every published form of checkpoint imports into a network with the very same logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from engine import catalog, models
from engine.errors import ModelError
from engine.importing.doctor import Examined, Request, import_model
from engine.importing.recognise import recognise
from engine.importing.torchvision_names import SIZES
from engine.models.architectures.layouts import layouts_of
from engine.models.registry import bare
from engine.specs.dataset import DatasetSpec
from tests.helpers import layouts as published
from tests.helpers.checkpoints import ask, labelled, lively, pictures

State = dict[str, torch.Tensor]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CIFAR = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)}


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def optimiser(model: nn.Module) -> dict[str, Any]:
    """After a step, so that it holds momenta as a real one does."""
    sgd = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    state = sgd.state_dict()
    sgd.zero_grad()
    return state


def scheduler(model: nn.Module) -> dict[str, Any]:
    """With its milestones, a collections.Counter."""
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    return torch.optim.lr_scheduler.MultiStepLR(sgd, [50, 150]).state_dict()


def subnet(model: nn.Module, k: float) -> nn.Module:
    for module in model.modules():
        if isinstance(module, published.SubnetConv | published.SubnetLinear):
            module.k = k
    return model


def dense(model: nn.Module) -> nn.Module:
    """Hydra's dense file: a quarter of every weight, masked."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            size = module.weight.data.abs()
            module.weight.data *= size >= size.flatten().quantile(0.75)
    return model


def hydra(model: nn.Module) -> dict[str, Any]:
    return {
        "epoch": 99,
        "arch": "wrn_28_4",
        "state_dict": model.state_dict(),
        "best_prec1": torch.tensor(47.3),
        "optimizer": optimiser(model),
    }


def iad(model: nn.Module) -> dict[str, Any]:
    return {
        "epoch": 200,
        "state_dict": prefixed(model.state_dict(), "module."),
        "test_nat_acc": np.float64(83.06),
        "test_pgd10_acc": np.float32(48.1),
        "optimizer": optimiser(model),
    }


def vita(model: nn.Module) -> dict[str, Any]:
    swa = {key: value.clone() + 1 for key, value in model.state_dict().items()}
    return {
        "best_sa": 84.0,
        "best_ra": 51.2,
        "epoch": 199,
        "state_dict": model.state_dict(),
        "optimizer": optimiser(model),
        "scheduler": scheduler(model),
        "result": {"train": [1.0, 2.0], "test": [84.0]},
        "swa_state_dict": swa,
        "swa_n": 10,
        "best_sa_swa": 84.9,
        "best_ra_swa": 52.0,
    }


def rap_resume(model: nn.Module) -> dict[str, Any]:
    state = prefixed(model.state_dict(), "module.basic_model.")
    admm = {key: torch.zeros_like(value) for key, value in state.items() if value.dim() > 1}
    return {"net": state, "acc": 80.5, "epoch": 7, "admm": {"ADMM_U": admm, "ADMM_Z": admm}}


def wrn(**options: Any) -> nn.Module:
    return published.TradesWRN(10, 2, **options)


Row = tuple[Callable[[], nn.Module], Callable[[nn.Module], Any], str, str, dict[str, Any]]

ROWS: dict[str, Row] = {
    "hydra dense": (lambda: dense(wrn()), hydra, "model_best_dense.pth.tar", "wrn-10-2", {}),
    "hydra subnet": (
        lambda: subnet(wrn(subnet=True), 0.3), hydra, "checkpoint.pth.tar", "wrn-10-2",
        {"density": 0.3},
    ),
    "hydra subnet, several GPUs": (
        lambda: subnet(wrn(subnet=True), 0.1),
        lambda m: {**hydra(m), "state_dict": prefixed(m.state_dict(), "module.")},
        "checkpoint.pth.tar", "wrn-10-2", {"density": 0.1},
    ),
    "hydra vgg": (
        lambda: subnet(published.HydraVGG16(subnet=True), 0.5), hydra, "checkpoint.pth.tar",
        "vgg-16-bn", {"density": 0.5},
    ),
    "rap vgg": (
        published.HydraVGG16, lambda m: prefixed(m.state_dict(), "module.basic_model."),
        "vgg16_pretrained.pt", "vgg-16-bn", {},
    ),
    "rap-admm": (
        lambda: published.KuangResNet18(width=4),
        lambda m: prefixed(m.state_dict(), "module.basic_model."),
        "resnet18_adv_w1.pt", "resnet-18-w4", {},
    ),
    "rap-admm resumed": (
        lambda: published.KuangResNet18(width=8), rap_resume, "ckpt.t7", "resnet-18-w8", {},
    ),
    "ard": (
        published.KuangMobileNetV2,
        lambda m: {"net": m.state_dict(), "optimizer": optimiser(m)},
        "epoch=199.t7", "mobilenet-v2", {},
    ),
    "rslad student": (
        lambda: published.KuangResNet18(width=16), lambda m: prefixed(m.state_dict(), "module."),
        "resnet18-CIFAR10_RSLAD0.5149.pth", "resnet-18-w16", {},
    ),
    "rslad teacher": (wrn, lambda m: m.state_dict(), "model_cifar_wrn.pt", "wrn-10-2", {}),
    "iad": (lambda: published.KuangResNet18(width=16), iad, "bestpoint.pth.tar",
            "resnet-18-w16", {}),
    "akd2": (published.VitaPreActResNet18, vita, "model_RA_best.pth.tar", "preact-resnet-18", {}),
    "vita teacher": (
        published.VitaPreActResNet18, lambda m: m.state_dict(), "teacher.pt", "preact-resnet-18",
        {},
    ),
    "akamaster": (
        lambda: published.AkaResNet(20),
        lambda m: {"best_prec1": 91.78, "state_dict": prefixed(m.state_dict(), "module.")},
        "resnet20.th", "resnet-20", IMAGENET,
    ),
    "deepmind": (
        lambda: published.DeepMindWRN(10, 2), lambda m: m.state_dict(), "wrn-swish.pt",
        "swish-wrn-10-2", CIFAR,
    ),
    "twice wrapped": (
        wrn, lambda m: {"state_dict": prefixed(m.state_dict(), "module.module.")},
        "twice.pt", "wrn-10-2", {},
    ),
    "robustbench wrn 28-10 form": (
        lambda: wrn(unused=False), lambda m: prefixed(m.state_dict(), "model."),
        "model.pt", "wrn-10-2", {},
    ),
}  # fmt: skip


def outside(name: str, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The logits of the original, normalised as its own code does."""
    if name != "akamaster":
        return ask(model, images)
    mean, std = (torch.tensor(IMAGENET[key])[:, None, None] for key in ("mean", "std"))
    return ask(model, (images - mean) / std)


def bring(name: str, tmp_path: Path, file_name: str, content: Any, **wish: Any) -> Examined:
    path = tmp_path / file_name
    torch.save(content, path)
    request = Request(file=str(path), dataset=DatasetSpec(npz=str(tmp_path / "x.npz")), **wish)
    return import_model(request, tmp_path / "library")


@pytest.mark.parametrize("name", ROWS)
def test_every_row_of_the_matrix(name: str, tmp_path: Path) -> None:
    make, wrap, file_name, architecture, wish = ROWS[name]
    images = pictures(40)
    model = lively(make(), images)
    if "dense" in name:
        dense(model)
    labelled(model, images, tmp_path / "x.npz")
    done = bring(name, tmp_path, file_name, wrap(model), keep=True, **wish)
    assert done.report.architecture == architecture
    expected = outside(name, model, images)
    assert expected.std(dim=0).min() > 1e-3
    assert torch.equal(ask(done.module, images), expected)
    assert done.card is not None
    catalog.use_library(tmp_path / "library")
    again = models.load(catalog.model_card(done.card.id))
    assert torch.equal(ask(again, images), expected)


def test_what_was_found_is_said(tmp_path: Path) -> None:
    images = pictures(40)
    model = lively(wrn(subnet=True), images)
    subnet(model, 0.3)
    labelled(model, images, tmp_path / "x.npz")
    content = {**hydra(model), "state_dict": prefixed(model.state_dict(), "module.module.")}
    report = bring("", tmp_path, "m.pth.tar", content, density=0.3, keep=True).report
    assert "prefix 'module.module.'" in report.format
    assert "under 'state_dict'" in report.format
    assert "best_prec1 47.3" in report.format
    assert any("sub_block1" in line for line in report.dropped)
    assert any("scores" in line for line in report.dropped)
    assert report.kept == 0.3
    assert report.density == pytest.approx(0.3, abs=0.01)
    for layer in report.layers:
        kept = layer.weights - int((1 - 0.3) * layer.weights)
        assert layer.density == kept / layer.weights
    assert "cifar10" in report.datasets


def test_averaged_weights_are_taken_when_named(tmp_path: Path) -> None:
    images = pictures(20)
    model = lively(published.VitaPreActResNet18(), images)
    labelled(model, images, tmp_path / "x.npz")
    plain = bring("", tmp_path, "v.pth.tar", vita(model), keep=True)
    assert any("--part swa_state_dict" in note for note in plain.report.notes)
    averaged = bring("", tmp_path, "v.pth.tar", vita(model), keep=True, part="swa_state_dict")
    assert not torch.equal(ask(plain.module, images), ask(averaged.module, images))
    assert averaged.report.normalisation is not None
    assert averaged.report.normalisation.mean[0] == pytest.approx(1.4914)


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_containers(form: str, tmp_path: Path) -> None:
    images = pictures(40)
    model = lively(wrn(), images)
    labelled(model, images, tmp_path / "x.npz")
    path = tmp_path / f"m.{'safetensors' if form == 'safetensors' else 'pt'}"
    if form == "safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path, _use_new_zipfile_serialization=form == "zip")
    request = Request(file=str(path), dataset=DatasetSpec(npz=str(tmp_path / "x.npz")))
    done = import_model(request, None)
    assert torch.equal(ask(done.module, images), ask(model, images))
    assert done.report.health == "healthy"


ORIGINALS: dict[str, Callable[[], nn.Module]] = {
    "wrn-28-4": lambda: published.TradesWRN(28, 4, unused=False),
    "resnet-18": published.KuangResNet18,
    "preact-resnet-18": published.VitaPreActResNet18,
    "mobilenet-v2": published.KuangMobileNetV2,
    "vgg-16-bn": published.HydraVGG16,
    "resnet-20": lambda: published.AkaResNet(20),
    "swish-wrn-28-10": lambda: published.DeepMindWRN(28, 10),
}


@pytest.mark.parametrize("architecture", ORIGINALS)
def test_names_are_mapped_both_ways(architecture: str) -> None:
    with torch.device("meta"):
        theirs = ORIGINALS[architecture]().state_dict()
    theirs = {key: value for key, value in theirs.items() if not key.startswith("normalize.")}
    ours = bare(architecture, (3, 32, 32), 10).state_dict()
    layout = layouts_of(architecture)[0]
    assert {layout.ours(key): value.shape for key, value in theirs.items()} == {
        key: value.shape for key, value in ours.items()
    }
    assert {layout.theirs(key) for key in ours} == set(theirs)


@pytest.mark.parametrize("name", ["vit_b_16", "vit_b_32", "resnet18", "swin_t", "inception_v3"])
def test_networks_of_torchvision_are_recognised_before_any_image(name: str) -> None:
    # Its auxiliary heads are taken off before; a test of its own sees to that.
    bare = name == "inception_v3"
    options = {"init_weights": False, "aux_logits": False} if bare else {}
    with torch.device("meta"):
        state = torchvision.models.get_model(name, **options).state_dict()
    fit = recognise(state, f"{name}.pth", None, None)
    assert (fit.architecture, fit.classes, fit.errors) == (f"torchvision.{name}", 1000, 0)


def test_a_vision_transformer_of_another_size(tmp_path: Path) -> None:
    """The side of the images stands in the tensors: 36 patches of 8 pixels are 48 by 48."""
    images = pictures(40, side=48)
    small = {"patch_size": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}

    def vit_tiny(image_size: int = 64, num_classes: int = 10) -> nn.Module:
        sizes = {"image_size": image_size, "num_classes": num_classes, **small}
        return torchvision.models.VisionTransformer(**sizes)

    vit_tiny.__module__ = "torchvision.models.vision_transformer"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(torchvision.models._api.BUILTIN_MODELS, "vit_tiny", vit_tiny)
        model = lively(vit_tiny(48), images)
        patch.setitem(SIZES, "vit_tiny", len(model.state_dict()))
        labelled(model, images, tmp_path / "x.npz")
        for wish in ({}, {"architecture": "torchvision.vit_tiny"}):
            done = bring("", tmp_path, "vit.pth", model.state_dict(), keep=True, **wish)
            assert done.report.architecture == "torchvision.vit_tiny"
            assert torch.equal(ask(done.module, images), ask(model, images))
        np.savez(tmp_path / "x.npz", x=np.zeros((20, 32, 32, 3), np.uint8), y=np.arange(20) % 10)
        with pytest.raises(ModelError, match="pos_embedding is 1x37x16 instead of 1x17x16"):
            bring("", tmp_path, "vit.pth", model.state_dict(), keep=True)
