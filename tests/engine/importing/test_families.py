"""Families of published networks: the same logits as by their own definitions."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from engine import catalog, models
from engine.errors import ModelError, SpecError
from engine.importing.candidate_model import Patient
from engine.importing.doctor import Examined, Request, import_model
from engine.importing.families.reading import fit_families
from engine.importing.recognise import recognise
from engine.importing.state_dict_file import from_file
from engine.importing.torchvision_names import SIZES
from engine.models import build
from engine.models.reshape import fit_shapes
from engine.specs.dataset import DatasetSpec
from tests.helpers.branch_networks import GoogLeNet, StagedMobileNetV2
from tests.helpers.checkpoints import ask, labelled, lively, pictures
from tests.helpers.families import (
    Basic,
    Bottleneck,
    DenseNet,
    Lettered,
    Listed,
    MelikeToy,
    MobileV1,
    Nine,
    PreAct,
    RepVgg,
    Squeezed,
    Stages,
    Units,
    Verified,
    Vgg,
)
from tests.helpers.layouts import KuangMobileNetV2

SHAPE = (3, 32, 32)
FOUR, THREE = (8, 8, 12, 16, 20), (8, 8, 12, 16)
TORCHVISION = {"head": "fc"}
BEARPAW = {"stem": ("conv1", ""), "last": "bn", "head": "fc"}
KUANGLIU = {"stem": ("conv1", "")}
AICUN = {"stem": ("conv1.0", "conv1.1"), "stages": lambda n: f"conv{n + 1}_x", "head": "fc"}


def _thinned() -> nn.Module:
    inside = itertools.cycle([5, 3, 8, 1])
    return Stages(
        lambda i, o, s: Basic(i, o, s, name="downsample", inside=next(inside)), (2, 1, 3), THREE,
        head="fc",
    )  # fmt: skip


def _half(model: nn.Module) -> nn.Module:
    """Half of the channels of every layer but the first and the last."""
    shapes = {}
    for key, one in model.state_dict().items():
        ends = [3 if key == "conv1.weight" else one.shape[1] // 2] if one.dim() > 1 else []
        if one.dim() == 4 and one.shape[1] == 1:
            ends = [1]
        rows = one.shape[0] if key.startswith("linear") else one.shape[0] // 2 if one.dim() else 0
        shapes[key] = (rows, *ends, *one.shape[2:]) if one.dim() else ()
    fit_shapes(model, shapes)
    return model


def _grouped(model: nn.Module, groups: int) -> nn.Module:
    """With GroupNorm in place of BatchNorm; 0 groups are one for each channel."""
    for name, norm in [*model.named_modules()]:
        if isinstance(norm, nn.BatchNorm2d):
            owner, _, last = name.rpartition(".")
            width = norm.num_features
            setattr(model.get_submodule(owner), last, nn.GroupNorm(groups or width, width))
    return model


def _shortcuts(groups: int) -> nn.Module:
    return _grouped(Stages(partial(Basic, name="shortcut"), (2, 1, 1, 1), FOUR), groups)


def _small_mobile(width: float) -> nn.Module:
    """torchvision's with the strides of chenyaofo and huyvnphan."""
    model = torchvision.models.mobilenet_v2(num_classes=7, width_mult=width)
    for layer in (model.features[0][0], model.features[2].conv[1][0]):
        layer.stride = (1, 1)
    return model


def _small_shuffle() -> nn.Module:
    model = torchvision.models.ShuffleNetV2([2, 3, 1], [8, 12, 16, 20, 24], num_classes=7)
    model.conv1[0].stride = (1, 1)
    model.maxpool = nn.Identity()
    return model


USUAL: dict[str, Callable[[], nn.Module]] = {
    "kuangliu resnet34": lambda: Stages(partial(Basic, name="shortcut"), (3, 1, 2, 1), FOUR),
    "kuangliu resnet50": lambda: Stages(
        partial(Bottleneck, name="shortcut"), (2, 1, 2, 1), (8, 16, 24, 32, 40)
    ),
    "kuangliu resnext29": lambda: Stages(
        partial(Bottleneck, name="shortcut", groups=4), (1, 2, 1), (8, 32, 48, 64), kernel=1
    ),
    "kuangliu preact18": lambda: Stages(PreAct, (2, 2, 1, 1), FOUR, **KUANGLIU),
    "kuangliu preact50": lambda: Stages(
        partial(PreAct, deep=True), (2, 1, 1, 1), (8, 16, 24, 32, 40), **KUANGLIU
    ),
    "preact18 with a last norm": lambda: Stages(PreAct, (1, 2, 1, 1), FOUR, last="bn", **KUANGLIU),
    "preact18, norms in shortcuts": lambda: Stages(
        partial(PreAct, normed=True), (1, 2, 1, 1), FOUR, **KUANGLIU
    ),
    "kuangliu senet18": lambda: Stages(Squeezed, (1, 2, 1, 1), FOUR),
    "akamaster, option A": lambda: Stages(
        partial(Basic, name="", option="a"), (2, 1, 3), (4, 4, 8, 16)
    ),
    "akamaster, option B": lambda: Stages(partial(Basic, name="shortcut"), (2, 1, 3), THREE),
    "chenyaofo": lambda: Stages(partial(Basic, name="downsample"), (2, 2, 2), THREE, **TORCHVISION),
    "3x3 shortcuts": lambda: Stages(
        partial(Basic, name="shortcut", kernel=3),
        (1, 2, 2),
        THREE,
        stem=("conv", "bn"),
        head="fc",
    ),
    "thinned": _thinned,
    "bearpaw resnet164": lambda: Stages(
        partial(Bottleneck, name="downsample"), (2, 2, 2), (8, 16, 24, 32), **TORCHVISION
    ),
    "bearpaw preresnet20": lambda: Stages(
        partial(PreAct, raw=True, name="downsample"), (2, 1, 1), THREE, **BEARPAW
    ),
    "bearpaw preresnet164": lambda: Stages(
        partial(PreAct, deep=True, raw=True, name="downsample"),
        (2, 1, 1),
        (8, 16, 24, 32),
        **BEARPAW,
    ),
    "meliketoy wide resnet": lambda: Stages(
        MelikeToy, (2, 1, 1), (8, 16, 24, 32), stem=("conv1", ""), last="bn1", bias=True
    ),
    "weiaicunzai resnet18": lambda: Stages(Listed, (2, 1, 1, 1), FOUR, **AICUN),
    "weiaicunzai resnet50": lambda: Stages(
        partial(Listed, deep=True), (1, 2, 1, 1), (8, 16, 24, 32, 40), **AICUN
    ),
    "weiaicunzai preact18": lambda: Stages(
        partial(Listed, pre=True),
        (2, 1, 1, 1),
        FOUR,
        stem=("pre.0", "pre.1"),
        stages="stage{}".format,
        bias=True,
    ),
    "weiaicunzai preact50": lambda: Stages(
        partial(Listed, pre=True, deep=True),
        (2, 1, 1, 1),
        (8, 16, 24, 32, 40),
        stem=("pre.0", "pre.1"),
        stages="stage{}".format,
        bias=True,
    ),
    "weiaicunzai wide resnet": lambda: Stages(
        partial(Listed, pre=True, dropout=True),
        (2, 1, 1),
        (8, 16, 24, 32),
        bias=True,
        stem=("init_conv", ""),
        stages=lambda n: f"conv{n + 1}",
        last="bn",
        activated=False,
    ),
    "pytorchcv preresnet20": lambda: Stages(
        Units,
        (2, 1, 1),
        THREE,
        stem=("features.init_block", ""),
        stages="features.stage{}".format,
        last="features.post_activ.bn",
        head="output",
        unit="unit{}",
    ),
    "a head of two layers": lambda: Stages(
        partial(Basic, name="downsample"), (1, 1, 1), THREE, head="fc", hidden=9
    ),
    "kuangliu on images of 64 pixels": lambda: Stages(
        partial(Basic, name="shortcut"), (1, 1, 1), (4, 4, 6, 8), squares=2
    ),
    "fc and downsample, 3x3 stem": lambda: Stages(
        partial(Basic, name="downsample"), (2, 1, 1, 1), FOUR, **TORCHVISION
    ),
    "kuangliu densenet": lambda: DenseNet((2, 3, 2, 1), 4),
    "bearpaw densenet-bc": lambda: DenseNet((3, 2, 2), 4, "bearpaw"),
    "andreasveit densenet": lambda: DenseNet((3, 2, 2), 4, "andreasveit", deep=False),
    "huyvnphan densenet": lambda: DenseNet((2, 2, 3, 1), 4, "torchvision"),
    "kuangliu vgg11": lambda: Vgg([6, "M", 8, "M", 10, 10, "M", 12, 12, "M", 12, 12]),
    "thinned vgg, chenyaofo's head": lambda: Vgg(
        [5, "M", 7, 3, "M", 9, "M", 4, "M", 11], head=(9, 8)
    ),
    "chengyangfu vgg without norms": lambda: Vgg(
        [6, "M", 8, "M", 10, "M", 12, 12, "M", 12], norm=False, head=(12, 12), dropout=True
    ),
    "network slimming vgg": lambda: Vgg(
        [6, 5, "M", 8, "M", 10, "M", 12, 7, "M", 12], name="feature", end="average"
    ),
    "vgg with a norm in the classifier": lambda: Vgg(
        [6, "M", 8, "M", 10, 10, "M", 12, "M", 12],
        name="feature",
        end="average",
        head=(9,),
        flat_norm=True,
    ),
    "torchvision's vgg11, thinned": lambda: Vgg(
        [6, "M", 8, "M", 7, 9, "M", 5, "M", 8], end="seven", head=(12, 9)
    ),
    "tutorials' resnet9": Nine,
    "tutorials' resnet9 without biases": lambda: Nine(bias=False),
    "chenyaofo repvgg": RepVgg,
    "soft filter pruning": lambda: Stages(
        Lettered,
        (2, 1, 2),
        (4, 4, 8, 16),
        stem=("conv_1_3x3", "bn_1"),
        stages="stage_{}".format,
        head="classifier",
    ),
    "verified resnet without norms": Verified,
    "kuangliu mobilenet": MobileV1,
    "kuangliu mobilenet-v2, half as wide": lambda: _half(KuangMobileNetV2(7)),
    "chenyaofo mobilenet-v2": lambda: _small_mobile(0.5),
    "chenyaofo shufflenet-v2": _small_shuffle,
    "RepDistiller mobilenet-v2": StagedMobileNetV2,
    "kuangliu resnet with group norms": lambda: _shortcuts(4),
    "kuangliu googlenet": GoogLeNet,
    "weiaicunzai googlenet": lambda: GoogLeNet(deep=True),
    "torchvision's googlenet for small images": lambda: GoogLeNet(named=True),
}


def examined(path: Path) -> Patient:
    found = from_file(path, part=None, architecture=None, density=None, shape=None)
    assert found is not None
    return found


@pytest.mark.parametrize("name", USUAL)
def test_families_say_what_their_definitions_say(name: str, tmp_path: Path) -> None:
    images = pictures(12)
    model = lively(USUAL[name](), images)
    state = {f"module.{key}": one for key, one in model.state_dict().items()}
    torch.save({"net": state, "acc": 93.1}, tmp_path / "m.pth")
    patient = examined(tmp_path / "m.pth")
    assert (patient.classes, patient.channels) == (7, 3)
    # Sorted by name, as safetensors keeps them, the blocks still have an order.
    save_file(model.state_dict(), tmp_path / "m.safetensors")
    for found in (patient, examined(tmp_path / "m.safetensors")):
        assert torch.equal(ask(found.network(SHAPE, None), images), ask(model, images))


def _without_pool() -> nn.Module:
    model = DenseNet((2, 1), 4, "torchvision")
    model.features.pool0 = nn.Identity()
    return model


UNUSUAL: dict[str, Callable[[], nn.Module]] = {
    "a pool behind a 3x3 stem": lambda: Stages(
        partial(Basic, name="downsample"), (2, 1, 1, 1), FOUR, pooled=True, **TORCHVISION
    ),
    "RobustBench preact18": lambda: Stages(partial(PreAct, raw=True), (1, 1, 1, 1), FOUR,
                                           **KUANGLIU),
    "new channels behind": lambda: Stages(
        partial(Basic, name="", option="behind"), (2, 1, 1), (4, 4, 8, 16)
    ),
    "the mean behind features": lambda: Vgg([6, "M", 8, "M", 10, "M", 12, "M", 12], end="average"),
    "repvgg for large images": lambda: RepVgg(stride=2),
    "strides for large images": lambda: torchvision.models.mobilenet_v2(
        num_classes=7, width_mult=0.25
    ),
    "no pool behind the stem": lambda: _without_pool(),
    "norms of two groups": lambda: _shortcuts(2),
    "norms of whole images": lambda: _shortcuts(1),
    "instance norms": lambda: _shortcuts(0),
    "staged mobilenet-v2 for small images": lambda: StagedMobileNetV2(stride=1),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_tensors_do_not_tell_is_a_candidate(name: str) -> None:
    images = pictures(12)
    model = lively(UNUSUAL[name](), images)
    fits, _ = fit_families(model.state_dict())
    same = []
    for fit in fits:
        assert fit.wiring is not None
        network = build(fit.wiring, SHAPE, 7).eval()
        network.load_state_dict(model.state_dict())
        same.append(torch.equal(ask(network, images), ask(model, images)))
    assert sum(same) == 1
    assert not same[0]
    assert len({fit.architecture for fit in fits}) == len(fits)


def test_norms_of_as_many_groups_as_channels_are_one_candidate() -> None:
    model = _grouped(Stages(partial(Basic, name="shortcut"), (1, 1, 1), (8, 8, 8, 8)), 8)
    fits, _ = fit_families(model.state_dict())
    assert len({fit.wiring.key for fit in fits if fit.wiring}) == len(fits)
    assert "norms of each channel" in {fit.architecture.rpartition(", ")[2] for fit in fits}


def test_candidates_that_cannot_take_a_single_image_are_wrong(tmp_path: Path) -> None:
    """A map of one pixel has no spread, so torch refuses to normalise one channel of one."""
    torch.save(_shortcuts(4).state_dict(), tmp_path / "m.pt")
    np.savez(tmp_path / "x.npz", x=pictures(1, side=8).numpy(), y=[3])
    spec = DatasetSpec(npz=str(tmp_path / "x.npz"))
    report = import_model(Request(file=str(tmp_path / "m.pt"), dataset=spec), None).report
    assert [one.images for one in report.guesses] == [1] * len(report.guesses)


def damaged(change: Callable[[dict[str, torch.Tensor]], object], path: Path) -> str:
    state = dict(USUAL["kuangliu resnet34"]().state_dict())
    change(state)
    torch.save(state, path)
    with pytest.raises(ModelError) as caught:
        examined(path)
    assert "--class net.py:Net --trust-code" in caught.value.hint
    return caught.value.message


def lack(prefix: str) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda state: [state.pop(key) for key in [*state] if key.startswith(prefix)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lack("layer1.1.bn2."), "layer1.1 lacks bn2, which other blocks have"),
        (lack("linear."), "it lacks a linear layer at its end"),
        (lack("layer3.0.shortcut.0"), "shortcut layer3.0.shortcut.1 has other layers than a conv"),
        (lambda s: s.update({"layer1.2.conv9.weight": torch.ones(8, 8, 3, 3)}),
         "layer1.2 has conv9, which other blocks lack"),
        (lambda s: s.update({"layer1.2.conv2.weight": torch.ones(9, 8, 3, 3)}), "do not follow"),
        (lambda s: s.update({"linear.weight": torch.ones(7, 21)}), "linear reads 21 channels"),
    ],
)  # fmt: skip
def test_near_misses_say_what_differs(
    change: Callable[[dict[str, torch.Tensor]], object], told: str, tmp_path: Path
) -> None:
    message = damaged(change, tmp_path / "m.pt")
    assert re.search(told, message), message
    assert "looks most like a network of blocks in stages" in message


def brought(model: nn.Module, tmp_path: Path, right: bool = True, **wish: object) -> Examined:
    """Imported with images that the model is right about, or random labels."""
    images = pictures(160)
    torch.save(lively(model, images).state_dict(), tmp_path / "m.pt")
    labelled(model, images, tmp_path / "x.npz")
    if not right:
        with np.load(tmp_path / "x.npz") as both:
            x, y = both["x"], both["y"]
        np.savez(tmp_path / "x.npz", x=x, y=np.random.default_rng(0).permutation(y))
    request = Request(
        file=str(tmp_path / "m.pt"), dataset=DatasetSpec(npz=str(tmp_path / "x.npz")), keep=True,
        **wish,
    )  # fmt: skip
    return import_model(request, tmp_path / "library")


@pytest.mark.parametrize("name", ["a pool behind a 3x3 stem", "RobustBench preact18"])
def test_accuracy_decides_between_wirings(name: str, tmp_path: Path) -> None:
    model = UNUSUAL[name]()
    done = brought(model, tmp_path)
    images = pictures(160)
    assert done.report.clean_accuracy == 1
    assert torch.equal(ask(done.module, images), ask(model, images))
    assert any("Its tensors are those of" in note for note in done.report.notes)
    # It comes back from the library, wired as it was, and as another model than the usual one.
    catalog.use_library(tmp_path / "library")
    assert done.card is not None
    assert torch.equal(ask(models.load(catalog.model_card(done.card.id)), images),
                       ask(model, images))  # fmt: skip
    usual = examined(tmp_path / "m.pt")
    assert [one.number for one in done.report.guesses if one.chosen] != [1]
    told = brought(model, tmp_path, candidate=1, name="usual")
    assert told.report.architecture == usual.architecture
    assert told.card is not None
    assert told.card.wiring != done.card.wiring
    assert told.report.clean_accuracy < 1
    with pytest.raises(SpecError, match=r"candidate is 9 but must be from 1 to \d"):
        brought(model, tmp_path, candidate=9)


def test_what_images_do_not_tell_is_asked(tmp_path: Path) -> None:
    """On random labels no wiring is better; the usual one is taken, and nobody is sure."""
    done = brought(UNUSUAL["a pool behind a 3x3 stem"](), tmp_path, right=False)
    assert done.report.architecture == examined(tmp_path / "m.pt").architecture
    assert done.report.health != "healthy"


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("linear.weight", (1 << 21, 20)),  # more than any wiring holds
        ("layer1.0.lambda.conv1.weight", (8, 8, 3, 3)),
        ("x" * 300 + ".weight", (8, 8, 3, 3)),
        ('layer1.0.conv1".weight', (8, 8, 3, 3)),
    ],
)
def test_hostile_names_and_sizes_are_refused_in_words(key: str, shape: tuple[int, ...]) -> None:
    state = dict(USUAL["kuangliu resnet34"]().state_dict())
    state[key] = torch.zeros(shape, device="meta")
    with pytest.raises(ModelError, match=r"m\.pt"):
        recognise(state, "m.pt", None, None)


SAME_COUNT = (
    ("resnet50", "wide_resnet50_2", "resnext50_32x4d", "regnet_x_800mf"),
    ("shufflenet_v2_x0_5", "shufflenet_v2_x1_5"),
    ("mobilenet_v2", "mnasnet0_5", "mnasnet1_3"),
    ("efficientnet_b1", "efficientnet_b2"),
)


@pytest.mark.parametrize("name", [one for group in SAME_COUNT for one in group])
def test_networks_of_torchvision_with_as_many_tensors_are_told_by_shapes(name: str) -> None:
    state = torchvision.models.get_model(name, num_classes=10).state_dict()
    assert {SIZES[one] for group in SAME_COUNT if name in group for one in group} == {SIZES[name]}
    fit = recognise(state, f"{name}.pth", None, None)
    assert (fit.architecture, fit.classes, fit.errors) == (f"torchvision.{name}", 10, 0)
    # What programs make of the same tensors for small images is tried beside it.
    small = [one for one in fit.others if "224" not in one.architecture]
    assert bool(small) == ("shufflenet" in name or name == "mobilenet_v2")
