"""Which architectures are recognised from names and shapes, and the way out for all others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from engine.errors import ModelError
from engine.importing.candidate_model import Patient
from engine.importing.chains.candidates import candidates
from engine.importing.chains.network import build as plain
from engine.importing.state_dict_file import from_file
from engine.models import build
from engine.models.architectures.layouts import NARROW, layouts_of
from engine.models.architectures.small_resnet import DEPTHS, NarrowForm
from engine.safe_files.way_out import by_source
from gui.library.import_words import in_window
from tests.helpers.checkpoints import ask, lively, pictures


def examined(path: Path, part: str | None = None) -> Patient:
    found = from_file(path, part=part, architecture=None, density=None, shape=None)
    assert found is not None
    return found


WIDTHS = st.integers(1, 70)
STAGES = st.lists(WIDTHS, min_size=1, max_size=4).map(tuple)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(
    st.tuples(STAGES, STAGES, STAGES),
    st.one_of(st.just((16, 32, 64)), st.tuples(WIDTHS, WIDTHS, WIDTHS)),
    st.sampled_from([0, 1, 3]),
)
def test_a_name_tells_the_whole_form(
    middles: tuple[tuple[int, ...], ...], widths: tuple[int, ...], kernel: int
) -> None:
    form = NarrowForm(middles, widths, kernel)
    if re.fullmatch(r"resnet-\d+", form.name):
        assert form == NarrowForm.of_depth(int(form.name[7:]))
    else:
        assert NarrowForm.parse(form.name) == form


@pytest.mark.parametrize(
    "name",
    ["resnet-21-1x1", "resnet-2-1x1", "resnet-20-5x5", "resnet-20-1x1-w16.32.64",
     "resnet-20-1x1-t1-1-1", "resnet-9999-1x1", "resnet-3.4-1x1", "resnet-20-1x1-w0.1.2",
     "mlp-", "mlp-0", "mlp-784-0"],
)  # fmt: skip
def test_names_of_no_network(name: str) -> None:
    with pytest.raises(ModelError, match="There is no architecture"):
        build(name, (3, 32, 32), 10)


def test_published_depths_are_what_they_were() -> None:
    for depth in DEPTHS:
        network = build(f"resnet-{depth}", (3, 32, 32), 10)
        assert sum(one.weight.dim() == 4 for one in network.modules() if hasattr(one, "weight")
                   and one.weight is not None) == depth - 1  # fmt: skip
    assert sum(one.numel() for one in build("resnet-20", (3, 32, 32), 10).parameters()) == 269_722


@pytest.mark.parametrize(
    ("architecture", "layout"),
    [
        ("resnet-20-1x1", 0),
        ("resnet-20-1x1", 3),
        ("resnet-3.4.6-3x3", 7),
        ("resnet-20-1x1-t11.8.9-22.20.32-52.56.64", 3),
        ("resnet-26-a", 1),
        ("resnet-1.2.1-3x3-w4.8.12", 5),
        ("resnet-20-a-t3.16.16-1.32.32-64.64.5", 0),
    ],
)
def test_narrow_resnets_of_earlier_names_are_read_and_can_be_told(
    architecture: str, layout: int, tmp_path: Path
) -> None:
    """Earlier versions stored them under names; what was stored by those is still built."""
    images = pictures(20)
    model = lively(build(architecture, (3, 32, 32), 7), images)
    names = layouts_of(architecture)[layout]
    assert layouts_of(architecture) == NARROW
    state = {f"module.{names.theirs(key)}": one for key, one in model.state_dict().items()}
    torch.save({"state_dict": state, "best_top1": 92.54}, tmp_path / "m.pth.tar")
    read = examined(tmp_path / "m.pth.tar")
    assert read.architecture.startswith("ResNet-")
    told = from_file(
        tmp_path / "m.pth.tar", part=None, architecture=architecture, density=None, shape=None
    )
    assert told is not None
    assert told.architecture == architecture
    for patient in (read, told):
        assert (patient.classes, patient.channels) == (7, 3)
        assert torch.equal(ask(patient.network((3, 32, 32), None), images), ask(model, images))


class Chain(nn.Module):
    """With names whose order in the alphabet is not that of the layers."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.layer_2, self.layer_10 = nn.Linear(pixels, 25), nn.Linear(25, 12)
        self.layer_11 = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer_10(self.layer_2(x.flatten(1)).relu()).relu()
        return self.layer_11(y)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32), (1, 8)])
@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_a_chain_of_linear_layers_is_recognised_from_its_shapes(
    channels: int, side: int, form: str, tmp_path: Path
) -> None:
    images = pictures(20, side, channels)
    model = lively(Chain(channels * side**2), images)
    path = tmp_path / f"m.{form}"
    state = {f"model.{key}": one for key, one in model.state_dict().items()}
    if form == "pt":
        torch.save({"state_dict": state, "epoch": 5}, path)
    else:
        save_file(state, path)
    patient = examined(path)
    assert patient.chain is not None
    assert [one.layer.name for one in patient.chain.steps] == ["layer_2", "layer_10", "layer_11"]
    assert patient.classes == 4
    usual = candidates(patient.chain, (channels, side, side))[0]
    assert usual.words == "ReLU"
    network = plain(usual.operations, patient.state)
    assert torch.equal(ask(network, images), ask(model, images))


def test_what_lacks_a_part_of_a_known_network_is_not_taken_for_a_plain_one(tmp_path: Path) -> None:
    """Without one of its norms, a ResNet is a chain of convolutions as far as shapes tell."""
    state = build("resnet-20", (3, 32, 32), 10).state_dict()
    left = {key: one for key, one in state.items() if "layer2.0.bn1" not in key}
    torch.save(left, tmp_path / "m.pt")
    with pytest.raises(ModelError, match="looks most like"):
        examined(tmp_path / "m.pt")


def test_little_in_common_is_not_most_like(tmp_path: Path) -> None:
    """A small VGG has names of VGG-16, and next to nothing else of it."""
    network = nn.Module()
    network.features = nn.Sequential(nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32))
    network.classifier = nn.Sequential(*[nn.Identity()] * 4, nn.Linear(128, 10))
    network.scale = nn.Parameter(torch.ones(3))
    torch.save(network.state_dict(), tmp_path / "m.pt")
    with pytest.raises(ModelError, match="of no known architecture"):
        examined(tmp_path / "m.pt")


def test_the_way_of_a_class_is_told_in_the_words_of_the_window() -> None:
    told = in_window(f"The file is of no known architecture. {by_source('a b.pth')}")
    assert "--" not in told
    assert "crumple" not in told
    assert "choose it as Python file" in told
