"""One network saved in all the ways that people save one: the same logits, or one question."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.parametrize import register_parametrization
from torch.optim.swa_utils import AveragedModel

from engine.errors import ModelError
from engine.importing.candidate_model import Patient
from engine.importing.masks import layers_of, masked_layers
from engine.importing.setting_trials import with_scaling
from engine.importing.state_dict_file import from_file
from engine.models import build
from tests.helpers.checkpoints import ask, lively, pictures

State = dict[str, torch.Tensor]
Net = nn.Module
SIDE = 16
ARCHITECTURE = "resnet-20-1x1-w4.6.8"
IMAGES = pictures(8, SIDE)
MEAN, STD = (0.5, 0.25, 0.125), (0.25, 0.5, 0.75)


def network(seed: int = 1) -> Net:
    with torch.random.fork_rng(devices=[]):
        return lively(build(ARCHITECTURE, (3, SIDE, SIDE), 10), IMAGES, seed)


NET, OTHER = network(), network(2)


def own() -> State:
    return {key: one.clone() for key, one in NET.state_dict().items()}


def changed(change: Callable[[torch.Tensor], torch.Tensor]) -> Net:
    """The network with its real numbers changed."""
    found = copy.deepcopy(NET)
    state = {k: change(v) if v.is_floating_point() else v for k, v in found.state_dict().items()}
    found.load_state_dict(state)
    return found


def prefixed(prefix: str, state: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {f"{prefix}{key}": one for key, one in (own() if state is None else state).items()}


class Normalise(nn.Module):
    def __init__(self, names: tuple[str, str], shape: tuple[int, ...], scale: float = 1) -> None:
        super().__init__()
        for name, numbers in zip(names, (MEAN, STD), strict=True):
            self.register_buffer(name, torch.tensor(numbers).view(shape) * scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, std = (one.view(-1, 1, 1) for one in self.buffers())
        return (x - mean) / std


def scaled(names: tuple[str, str] = ("mean", "std"), *shape: int) -> nn.Sequential:
    return nn.Sequential(Normalise(names, shape or (1, 3, 1, 1)), copy.deepcopy(NET)).eval()


class Wrapper(nn.Module):
    """A network as an attribute, beside whatever training needs."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def metric(**numbers: torch.Tensor) -> nn.Module:
    found = nn.Module()
    for name, one in numbers.items():
        found.register_buffer(name, one)
    return found


class Config(dict[str, Any]):
    """As EasyDict: a dict whose keys are attributes, too."""

    def __init__(self, **items: Any) -> None:
        super().__init__(items)
        self.__dict__.update(items)


class Names(list[str]):
    """A list of a class of its own."""


@dataclasses.dataclass
class Settings:
    lr: float = 0.1
    where: Path = Path("/data")


def trained() -> dict[str, Any]:
    """What a training program saves: optimiser and schedule with their states, settings."""
    net = copy.deepcopy(NET)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=9)
    net(IMAGES).sum().backward()
    optimiser.step()
    return {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, where=Path("/data"), more=Config(a=Config(b=1))),
        "settings": Settings(),
        "names": Names(["a", "b"]),
        "optimizer": optimiser.state_dict(),
        "scheduler": {**schedule.state_dict(), "anneal_func": schedule.get_last_lr},
        "scaler": {"scale": 65536.0, "growth_factor": 2.0},
        "history": np.linspace(0, 1, 5),
        "best": np.float64(91.5),
        "rng": torch.get_rng_state(),
        "meta": {"dataset": "cifar10", "classes": ["cat", "dog"], "shape": [3, 32, 32]},
    }


def pruned(structured: bool) -> Net:
    net = copy.deepcopy(NET)
    layers = [one for one in net.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    if structured:
        for one in layers[1:-1]:
            prune.ln_structured(one, "weight", amount=0.3, n=2, dim=0)  # type: ignore[no-untyped-call]
    else:
        prune.global_unstructured(
            [(one, "weight") for one in layers], prune.L1Unstructured, amount=0.6
        )
        prune.l1_unstructured(layers[-1], "bias", amount=0.5)  # type: ignore[no-untyped-call]
    return net


def normed(kind: Callable[[Any], nn.Module]) -> Net:
    net = copy.deepcopy(NET)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        for one in list(net.modules()):
            if isinstance(one, nn.Conv2d | nn.Linear):
                kind(one)
    with torch.no_grad():
        for _ in range(3):  # lengths and vectors that are not those of the start
            for key, length in net.named_parameters():
                if key.endswith(("_g", "original0")):
                    length.mul_(1.1)
    return net.eval()


class Masked(nn.Module):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", weight.abs() > 0.1)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return torch.where(self.mask, weight, torch.zeros_like(weight))  # type: ignore[arg-type]


def parametrised() -> Net:
    net = copy.deepcopy(NET)
    for one in list(net.modules()):
        if isinstance(one, nn.Conv2d):
            register_parametrization(one, "weight", Masked(one.weight))
    return net


def quantised(per_channel: bool) -> tuple[dict[str, Any], Net]:
    """A state dict with int8 tensors of torch, and the network whose weights they stand for."""
    state: dict[str, Any] = own()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for key, one in state.items():
            if key.endswith("weight") and one.dim() > 1:
                if per_channel:
                    scales = one.flatten(1).abs().amax(1).double() / 127
                    zeros = torch.zeros(len(one), dtype=torch.int64)
                    state[key] = torch.quantize_per_channel(one, scales, zeros, 0, torch.qint8)
                else:
                    scale = float(one.abs().max()) / 100
                    state[key] = torch.quantize_per_tensor(one, scale, 10, torch.quint8)
    net = copy.deepcopy(NET)
    net.load_state_dict(
        {key: one.dequantize() if one.is_quantized else one for key, one in state.items()}
    )
    return state, net


def packed() -> tuple[dict[str, Any], Net]:
    """The same with the head as torch packs linear layers, and scales of activations."""
    state, net = quantised(per_channel=True)
    bias = state.pop("linear.bias")
    state["linear._packed_params.dtype"] = torch.qint8
    state["linear._packed_params._packed_params"] = (state.pop("linear.weight"), bias)
    for layer in ("quant", "conv1", "linear"):
        state[f"{layer}.scale"], state[f"{layer}.zero_point"] = torch.tensor(0.1), torch.tensor(64)
    return state, net


def coded(named: str, zero: str = "", rows: bool = True) -> tuple[State, Net]:
    """Codes of 8 bits with scales under other names, as programs write them by hand."""
    state, net = own(), copy.deepcopy(NET)
    values = net.state_dict()
    for key in [key for key, one in state.items() if one.dim() > 1]:
        whole = state[key]
        scale = (whole.flatten(1).abs().amax(1) if rows else whole.abs().max()) / 127
        shape = (-1, *[1] * (whole.dim() - 1))
        codes = (whole / (scale.view(shape) if rows else scale)).round()
        layer = key.removesuffix(".weight")
        if zero:
            state[key] = (codes + 128).clamp(0, 255).to(torch.uint8)
            state[zero.format(key=key, layer=layer)] = torch.tensor(128)
            codes = state[key].float() - 128
        else:
            state[key] = codes.to(torch.int8)
        state[named.format(key=key, layer=layer)] = scale
        values[key] = codes * (scale.view(shape) if rows else scale)
    net.load_state_dict(values)
    return state, net


def one_storage() -> State:
    """All tensors as views of one, behind each other."""
    real = {key: one for key, one in own().items() if one.is_floating_point()}
    flat = torch.cat([one.flatten() for one in real.values()])
    pieces = torch.split(flat, [one.numel() for one in real.values()])
    views = {
        key: piece.view_as(one) for (key, one), piece in zip(real.items(), pieces, strict=True)
    }
    return {**own(), **views}


@dataclass(frozen=True)
class Way:
    """How a network was saved.

    Attributes:
        content: what ``torch.save`` is given.
        asks: a part of the question that must be answered first; "" for none.
        part: the answer.
        net: what the logits must be those of; None for ``NET``.
        said: a part of what the report must say.
        old: written as torch before 1.6 did.
    """

    content: Any
    asks: str = ""
    part: str | None = None
    net: Net | None = None
    said: str = ""
    old: bool = False


def way(pair: tuple[Any, Net], said: str) -> Way:
    return Way(pair[0], net=pair[1], said=said)


def ways() -> dict[str, Way]:
    return {**bare_ways(), **wrapped(), **companions(), **computed(), **integers()}


def bare_ways() -> dict[str, Way]:
    parameters: dict[str, Any] = {**own(), **dict(copy.deepcopy(NET).named_parameters())}
    arrays = {key: one.numpy() for key, one in own().items()}
    return {
        "bare": Way(own()),
        "before torch 1.6": Way(own(), old=True),
        "half": Way({
            key: one.half() if one.is_floating_point() else one for key, one in own().items()},
            net=changed(lambda one: one.half().float()), said="Stored in float16"),
        "bfloat16": Way({key: one.bfloat16() if one.is_floating_point() else one
                         for key, one in own().items()},
                        net=changed(lambda one: one.bfloat16().float()), said="bfloat16"),
        "double": Way(copy.deepcopy(NET).double().state_dict(), said="Stored in float64"),
        "parameters that want gradients": Way(parameters),
        "one storage": Way(one_storage()),
        "channels last": Way(
            copy.deepcopy(NET).to(memory_format=torch.channels_last).state_dict()),
        "arrays of NumPy": Way(arrays),
        "arrays of NumPy, before torch 1.6": Way({"params": arrays}, old=True),
        "arrays in the order of Fortran and big ends": Way(
            {key: np.array(one.astype(one.dtype.newbyteorder(">")), order="F")
             for key, one in arrays.items()}),
        "a dict of a class of its own": Way(Config(epoch=3, state_dict=Config(**own()))),
        "numbers among the tensors": Way({**own(), "epoch": 3, "arch": "resnet20"},
                                         said="no tensors: epoch, arch"),
    }  # fmt: skip


def wrapped() -> dict[str, Way]:
    found = {
        f"prefix {one}": Way(prefixed(one))
        for one in ("net.", "backbone.", "encoder.", "student.", "network.", "module.model.",
                    "_orig_mod.module.", "a.b.c.d.", "module.module.", "0.")
    }  # fmt: skip
    compiled: Any = torch.compile(copy.deepcopy(NET))
    parallel = nn.DataParallel(nn.DataParallel(copy.deepcopy(NET)))
    body = {f"backbone.{key}" if not key.startswith("linear") else key: one
            for key, one in own().items()}  # fmt: skip
    within = {re.sub(r"(layer\d\.\d\.)", r"\1_fsdp_wrapped_module.", key): one
              for key, one in own().items()}  # fmt: skip
    return found | {
        "DataParallel twice": Way(parallel.state_dict()),
        "compiled": Way(compiled.state_dict()),
        "FSDP": Way(prefixed("_fsdp_wrapped_module.", within)),
        "DeepSpeed": Way({"module": own(), "ds_version": "0.9", "ds_config": {"a": 1}}),
        "a prefix of all but the head": Way(body),
        "averaged": Way(AveragedModel(NET).state_dict(), said="not of the network: n_averaged"),
        "averaged, parallel": Way(AveragedModel(nn.DataParallel(copy.deepcopy(NET))).state_dict()),
        "behind a normalisation": Way(scaled().state_dict(), net=scaled()),
        "behind mu and sigma": Way(scaled(("mu", "sigma"), 3).state_dict(), net=scaled()),
        "behind means and sds": Way(scaled(("means", "sds"), 3, 1, 1).state_dict(), net=scaled()),
        "behind _mean and _std": Way(scaled(("_mean", "_std")).state_dict(), net=scaled()),
        "behind a normalisation, parallel": Way(
            nn.DataParallel(scaled()).state_dict(), net=scaled()),
        "beside its mean and std": Way(
            {**prefixed("model."), "mean": torch.tensor(MEAN), "std": torch.tensor(STD)},
            net=scaled()),
        "behind one of pixels": Way(
            {**prefixed("1."), "0.pixel_mean": torch.tensor(MEAN) * 255,
             "0.pixel_std": torch.tensor(STD) * 255}, net=scaled()),
    }  # fmt: skip


def companions() -> dict[str, Way]:
    weights, other = own(), OTHER.state_dict()
    lightning = Wrapper(
        net=copy.deepcopy(NET),
        val_acc=metric(tp=torch.zeros(10, dtype=torch.int64)),
        confmat=metric(confmat=torch.rand(10, 10)),
        criterion=metric(weight=torch.rand(10)),
    )
    pair = Wrapper(student=copy.deepcopy(NET), teacher=OTHER)
    unknown = nn.Sequential(nn.Conv2d(3, 5, 7), nn.Conv2d(5, 3, 2))
    odd = Wrapper(student=copy.deepcopy(NET), teacher=unknown)
    shadow = {f"ema.{key.replace('.', '_')}": one for key, one in NET.named_parameters()}
    return {
        "kuangliu": Way({"net": weights, "acc": 91.5, "epoch": 3}),
        "a training": Way({"state_dict": prefixed("module."), **trained()}),
        "a training, before torch 1.6": Way({"state_dict": weights, **trained()}, old=True),
        "Lightning": Way(
            {"state_dict": lightning.state_dict(), "pytorch-lightning_version": "2.0",
             "hyper_parameters": Config(lr=0.1), "callbacks": {"a": {"best": torch.tensor(1.0)}},
             "optimizer_states": [trained()["optimizer"]], "loops": {}},
            said="not of the network: val_acc. (1 tensor), confmat. (1 tensor), criterion."),
        "nested": Way({"model": {"state_dict": weights, "name": "resnet"}, "epoch": 1}),
        "nested three deep": Way({"a": {"b": {"c": weights}}, "optimizer": trained()["optimizer"]}),
        "with another average": Way({"state_dict": weights, "state_dict_ema": other},
                                    said="--part state_dict_ema"),
        "averages without names beside it": Way(
            {"model": weights, "ema": {"shadow_params": list(NET.parameters()), "decay": 0.9}}),
        "averages beside it by other names": Way({**prefixed("net."), **shadow}),
        "one of two fits": Way(
            {"generator": {"a.weight": torch.rand(4, 4, 3, 3)}, "net_d": weights}),
        "student and teacher": Way(pair.state_dict(), "holds 2 networks: student (", "student"),
        "teacher of the two": Way({"state_dict": prefixed("model.", pair.state_dict())},
                                  "model.teacher (", "model.teacher", OTHER),
        "a teacher of an unknown kind": Way(odd.state_dict(), "may belong to the same", "student"),
        "a list": Way([weights, other], "holds 2 networks: 0 (", "0"),
        "a tuple in a wrapper": Way({"net": (other, weights)}, "--part 0", "1"),
        "folds": Way(OrderedDict(fold0=other, fold1=weights), "fold0 (", "fold1"),
        "two models": Way({"models": {"a": {"state_dict": other}, "b": {"state_dict": weights}}},
                          "a.state_dict (", "b.state_dict"),
    }  # fmt: skip


def computed() -> dict[str, Way]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old_weight = normed(nn.utils.weight_norm)
        one_length = normed(
            lambda layer: nn.utils.weight_norm(layer, dim=None)  # type: ignore[arg-type]
        )
        old_spectral = normed(nn.utils.spectral_norm)
    counted = {f"{key[:-6]}total_ops": torch.zeros(1) for key in own() if key.endswith("weight")}
    beside = own()
    for key, one in own().items():
        if one.dim() == 4:
            beside[key.replace("weight", "mask")] = (one.abs() > 0.1).float()
    masked = changed(lambda one: one)
    masked.load_state_dict({key: torch.where(one.abs() > 0.1, one, 0.0) if one.dim() == 4 else one
                            for key, one in own().items()})  # fmt: skip
    pairs = {
        "pruned": pruned(False),
        "pruned by filters": pruned(True),
        "a mask by parametrize": parametrised(),
        "weight_norm": old_weight,
        "weight_norm with one length": one_length,
        "weight_norm by parametrize": normed(parametrizations.weight_norm),
        "spectral_norm": old_spectral,
        "spectral_norm by parametrize": normed(parametrizations.spectral_norm),
    }
    said = {"p": "Pruned: masks", "a": "Pruned: masks", "w": "Weight norm", "s": "Spectral norm"}
    found = {
        name: Way({"model": prefixed("module.", net.state_dict())}, net=net, said=said[name[0]])
        for name, net in pairs.items()
    }
    return found | {
        "masks beside the weights": Way(beside, net=masked, said="Pruned: masks"),
        "counted by thop": Way({**own(), **counted}, said="counters of thop"),
    }


def integers() -> dict[str, Way]:
    said = "Dequantised from "
    return {
        "int8 of torch, a scale for each row": way(quantised(True), said + "int8: 22 tensors"),
        "int8 of torch, one scale": way(quantised(False), said + "uint8: 22 tensors"),
        "int8 of torch, packed": way(packed(), "also rounded activations"),
        "int8 by hand": way(coded("{key}_scale"), said + "int8: 22 tensors with"),
        "int8 by hand, one scale": way(coded("{layer}.scale", rows=False), said),
        "uint8 by hand": way(coded("{key}.scale", "{layer}.zero_point"), said),
    }


WAYS = ways()


def saved(content: Any, path: Path, old: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    return path


def examined(path: Path, part: str | None = None) -> Patient:
    found = from_file(path, part=part, architecture=None, density=None, shape=None)
    assert found is not None
    return found


def logits(patient: Patient) -> torch.Tensor:
    assert patient.architecture.startswith("ResNet-20 (")
    assert patient.settled == (patient.scaling is not None)
    network = patient.network((3, SIDE, SIDE), None)
    return ask(with_scaling(network, patient.scaling), IMAGES)


def test_there_are_many_ways() -> None:
    assert len(WAYS) >= 33


@pytest.mark.parametrize("name", WAYS)
def test_every_way_gives_the_same_logits(name: str, tmp_path: Path) -> None:
    one = WAYS[name]
    path = saved(one.content, tmp_path / "m.pt", one.old)
    if one.asks:
        with pytest.raises(ModelError) as caught:
            examined(path)
        assert one.asks in str(caught.value)
        assert "--part" in caught.value.hint
        assert caught.value.field == "part"
    patient = examined(path, one.part)
    assert torch.equal(logits(patient), ask(one.net or NET, IMAGES))
    assert one.said in " ".join([patient.format, *patient.dropped, *patient.notes])


MASKED = ("pruned", "pruned by filters", "a mask by parametrize", "masks beside the weights")


@pytest.mark.parametrize("name", [*MASKED, "bare", "weight_norm", "int8 by hand"])
def test_masks_are_found_on_the_layers_that_they_cut(name: str, tmp_path: Path) -> None:
    one = WAYS[name]
    patient = examined(saved(one.content, tmp_path / "m.pt", one.old), one.part)
    layers = layers_of(patient.network((3, SIDE, SIDE), None))
    held, left = masked_layers(layers, patient.masked)
    cut = {key for key, layer in layers.items() if not layer.weight.all()}
    assert held == (cut if name in MASKED else set())
    assert left == (["module.linear.bias"] if name == "pruned" else [])


def test_the_networks_differ() -> None:
    """Else a table of equal logits would say nothing."""
    nets = [one.net for one in WAYS.values() if one.net is not None]
    assert all(ask(one, IMAGES).isfinite().all() for one in nets)
    assert not torch.equal(ask(NET, IMAGES), ask(OTHER, IMAGES))
    assert sum(torch.equal(ask(one, IMAGES), ask(NET, IMAGES)) for one in nets) <= 3


@pytest.mark.parametrize("place", ["cuda:0", "mps", "xla:1"])
@pytest.mark.parametrize("old", [False, True])
def test_tensors_of_another_device(
    place: str, old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _: place)
    path = saved({"model": own()}, tmp_path / "m.pt", old)
    monkeypatch.undo()
    assert place.encode() in path.read_bytes()
    assert torch.equal(logits(examined(path)), ask(NET, IMAGES))


def test_numbers_of_big_ends(tmp_path: Path) -> None:
    path, swapped = saved(own(), tmp_path / "little.pt"), tmp_path / "big.pt"
    sizes = {one.untyped_storage().nbytes(): one.element_size() for one in own().values()}
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(swapped, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("byteorder"):
                content = b"big"
            elif "/data/" in entry.filename:
                kind = f"u{sizes[len(content)]}"
                content = np.frombuffer(content, kind).byteswap().tobytes()
            new.writestr(entry.filename, content)
    assert torch.equal(logits(examined(swapped)), ask(NET, IMAGES))


def test_safetensors_with_words_beside_them(tmp_path: Path) -> None:
    save_file(prefixed("model."), tmp_path / "m.safetensors", {"format": "pt", "epoch": "3"})
    assert torch.equal(logits(examined(tmp_path / "m.safetensors")), ask(NET, IMAGES))


CODES = torch.ones(4, 3, 3, 3, dtype=torch.int8)
REFUSED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "sparse": (lambda: {**own(), "conv1.weight": own()["conv1.weight"].to_sparse()},
               "'conv1.weight' of m.pt is sparse", "one.to_dense()"),
    "meta": (lambda: copy.deepcopy(NET).to("meta").state_dict(), "no numbers", "before saving"),
    "averages by order": (lambda: {"shadow_params": list(NET.parameters()), "decay": 0.9},
                          "tensors in a list, without names", "Save them by name"),
    "int8 without scales": (lambda: {**own(), "conv1.weight": CODES},
                            "'conv1.weight' as int8, but no scale", "(codes - zero_point) * scale"),
    "uint8 without zero points": (
        lambda: {**own(), "conv1.weight": CODES.byte(),
                 "conv1.weight_scale": torch.ones(())},
        "as uint8, but no zero point", "(codes - zero_point) * scale"),
    "scales of another size": (
        lambda: {**own(), "conv1.weight": CODES,
                 "conv1.weight_scale": torch.ones(3)},
        "3 scales or zero points of 'conv1.weight', but needs one, or one for each of its 4 rows",
        "(codes - zero_point) * scale"),
    "an unknown parametrization": (
        lambda: normed(lambda one: parametrizations.orthogonal(one.float())
                       if isinstance(one, nn.Linear) else one).state_dict(),
        "is computed in each forward by a function that the file lacks", "remove_parametrizations"),
    "an array of objects": (lambda: {**own(), "conv1.weight": np.array([None, "a"])},
                            "'conv1.weight', a NumPy array of other things", "torch.as_tensor"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_says_what_to_do(name: str, tmp_path: Path) -> None:
    make, message, hint = REFUSED[name]
    path = saved(make(), tmp_path / "m.pt")
    with pytest.raises(ModelError) as caught:
        examined(path)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message


class DTensor(torch.Tensor):
    """A tensor of a class that only its own program has."""


def test_tensors_that_are_spread_over_processes(tmp_path: Path) -> None:
    path = saved({**own(), "conv1.weight": own()["conv1.weight"].as_subclass(DTensor)},
                 tmp_path / "m.pt")  # fmt: skip
    with pytest.raises(ModelError, match="spread over several processes") as caught:
        examined(path)
    assert "full_state_dict=True" in caught.value.hint


@pytest.mark.parametrize("drop", ["conv1.weight", "layer3.2.bn2.running_var", "linear.weight"])
@pytest.mark.parametrize("prefix", ["", "net.", "0."])
def test_nothing_is_loaded_in_part(drop: str, prefix: str, tmp_path: Path) -> None:
    state = own()
    del state[drop]
    companion = {"n_averaged": torch.tensor(3), **prefixed("metric.", {"a": torch.zeros(2)})}
    path = saved({**prefixed(prefix, state), **companion}, tmp_path / "m.pt")
    with pytest.raises(ModelError, match=r"Nothing is loaded in part|of no known architecture"):
        examined(path)


def test_a_chosen_part_must_be_whole_and_others_must_not(tmp_path: Path) -> None:
    half = {key: one for key, one in prefixed("ema.").items() if key != "ema.linear.weight"}
    path = saved({**prefixed("net."), **half}, tmp_path / "m.pt")
    assert torch.equal(logits(examined(path)), ask(NET, IMAGES))
    assert torch.equal(logits(examined(path, "net")), ask(NET, IMAGES))
    with pytest.raises(ModelError, match=r"Nothing is loaded in part|no known"):
        examined(path, "ema")
    with pytest.raises(ModelError, match="no weights under 'teacher'") as caught:
        examined(path, "teacher")
    assert "It has some under: ema, net" in caught.value.hint


def test_half_of_an_unknown_network_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    """The head alone would be a chain of linear layers."""
    net = nn.Module()
    net.features = nn.Sequential(nn.Conv2d(3, 8, 5), nn.Conv2d(9, 16, 7))
    net.classifier = nn.Sequential(nn.Linear(256, 30), nn.ReLU(), nn.Linear(30, 10))
    path = saved(net.state_dict(), tmp_path / "m.pt")
    with pytest.raises(ModelError, match=r"no known architecture: features\.0\.weight") as caught:
        examined(path)
    assert "--part" not in str(caught.value)


def test_numbers_that_may_matter_are_told(tmp_path: Path) -> None:
    path = saved({**prefixed("net."), "temperature": torch.tensor(2.0)}, tmp_path / "m.pt")
    patient = examined(path)
    assert any(one.startswith("Left aside: temperature.") for one in patient.notes)


def test_a_mean_that_makes_no_sense_is_told(tmp_path: Path) -> None:
    bad = {"0.mean": torch.zeros(3), "0.std": torch.zeros(3)}
    with pytest.raises(ModelError, match="numbers above 0") as caught:
        examined(saved({**prefixed("1."), **bad}, tmp_path / "m.pt"))
    assert "leave them out" in caught.value.hint


def test_objects_beside_the_weights_are_named(tmp_path: Path) -> None:
    patient = examined(saved({"state_dict": own(), **trained()}, tmp_path / "m.pt"))
    (line,) = (one for one in patient.dropped if "objects that are not made" in one)
    for name in ("argparse.Namespace", "Config", "Settings"):
        assert name in line
