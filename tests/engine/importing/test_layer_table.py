"""The table of layers in the documentation says what becomes of a network with each of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from engine import compression
from engine.attacks import run_attack
from engine.compression import Context
from engine.compression.reach import Layers, shortfall
from engine.errors import CrumpleError
from engine.importing.candidate_model import Patient
from engine.importing.source import export_classifier
from engine.importing.whole_network import from_program
from engine.specs.choices import Step, make_step
from tests.helpers.checkpoints import ask, pictures

SHAPE = (1, 8, 8)
TABLE = Path(__file__).parents[3] / "docs" / "model-files.md"


class Net(nn.Module):
    """A first layer, one of the kind in question on (N, 8, 8, 8), and a head."""

    def __init__(self, middle: nn.Module, prepare: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.middle, self.head = nn.Conv2d(1, 8, 3, padding=1), middle, nn.Linear(8, 3)
        self._prepare = prepare

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.middle(self._prepare(self.first(x).relu()))
        y = found[0] if isinstance(found, tuple) else found
        if self._prepare is _tokens:
            y = y.mean(1)
        elif y.dim() > 2:
            y = y.flatten(2).mean(2)
        return self.head(y.relu())  # type: ignore[no-any-return]


class Products(nn.Module):
    """A matrix that is a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


class Itself(nn.MultiheadAttention):
    """Attention of tokens to each other."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(x, x, x, need_weights=False)[0]


def _as_it_is(x: torch.Tensor) -> torch.Tensor:
    return x


def _rows(x: torch.Tensor) -> torch.Tensor:
    return x[..., 0]


def _tokens(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(2).transpose(1, 2)


def _volume(x: torch.Tensor) -> torch.Tensor:
    return x[:, :, None]


def _one(x: torch.Tensor) -> torch.Tensor:
    return x.mean((2, 3))


_normed = nn.utils.parametrizations.weight_norm
_spectral = nn.utils.parametrizations.spectral_norm
KINDS: dict[str, tuple[Callable[[], nn.Module], Callable[[torch.Tensor], torch.Tensor]]] = {
    "Conv2d": (lambda: nn.Conv2d(8, 8, 3), _as_it_is),
    "Conv2d, groups": (lambda: nn.Conv2d(8, 8, 3, groups=4), _as_it_is),
    "Conv2d, depthwise": (lambda: nn.Conv2d(8, 8, 3, groups=8), _as_it_is),
    "Linear": (lambda: nn.Linear(8, 8), _one),
    "MultiheadAttention": (lambda: Itself(8, 2, batch_first=True), _tokens),
    "BatchNorm": (lambda: nn.BatchNorm2d(8), _as_it_is),
    "GroupNorm": (lambda: nn.GroupNorm(2, 8), _as_it_is),
    "LayerNorm": (lambda: nn.LayerNorm(8), _one),
    "InstanceNorm": (lambda: nn.InstanceNorm2d(8, affine=True), _as_it_is),
    "weight norm": (lambda: _normed(nn.Conv2d(8, 8, 3)), _as_it_is),
    "spectral norm": (lambda: _spectral(nn.Conv2d(8, 8, 3)), _as_it_is),
    "Conv1d": (lambda: nn.Conv1d(8, 8, 3), _rows),
    "Conv3d": (lambda: nn.Conv3d(8, 8, 3, padding=1), _volume),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(8, 8, 2, stride=2), _as_it_is),
    "a bare parameter": (Products, _one),
    "LSTM": (lambda: nn.LSTM(8, 8, batch_first=True), _tokens),
    "GRU": (lambda: nn.GRU(8, 8, batch_first=True), _tokens),
}


def _table() -> dict[str, tuple[str, str, str]]:
    """Rows of the page: a layer, and the words for attack, pruning and channels."""
    text = TABLE.read_text("utf-8").partition("### Which layers")[2].partition("\n##")[0]
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and not re.match(r"-+|layers", cells[0]):
            for kind in cells[0].replace("`", "").split("; "):
                rows[kind] = (cells[1], cells[2], cells[3])
    return rows


def test_the_table_and_these_networks_are_of_the_same_layers() -> None:
    assert set(_table()) == set(KINDS)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return pictures(8, side=8, channels=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_does_what_the_table_says(
    kind: str, tmp_path: Path, images: torch.Tensor
) -> None:
    torch.manual_seed(0)
    middle, prepare = KINDS[kind]
    attack, prune, channels = _table()[kind]
    net = Net(middle(), prepare).eval()
    path = tmp_path / "net.pt2"

    def patient() -> Patient:
        path.write_bytes(export_classifier(net, SHAPE, "net")[0])
        return from_program(path, SHAPE)

    if attack == "no":
        with pytest.raises(CrumpleError, match="operator"):
            patient()
        return
    found = patient()
    module = found.module
    assert module is not None
    assert found.compressible
    assert (prune == "left alone") == any("every step of a recipe" in one for one in found.notes)
    assert _moves(module, (), images)
    step = make_step({"name": "magnitude", "sparsity": 0.5})
    assert _moves(module, (step,), images)
    variant = compression.apply(module, (step,), Context())
    told = shortfall(step, Layers.of(module), Layers.of(variant.live))
    assert ("in no layer" in told) == (prune == "left alone")
    assert _channels_go(module) == (channels == "yes")


def _moves(module: nn.Module, recipe: tuple[Step, ...], images: torch.Tensor) -> bool:
    variant = compression.apply(module, recipe, Context())
    deployed, view = variant.deployed(), variant.attack_view()
    labels = ask(deployed, images).argmax(dim=1)  # what is wrong before is not moved
    spec = {"name": "pgd", "eps": 0.1, "steps": 2}
    return bool((run_attack(deployed, images, labels, spec, view=view).adversarial != images).any())


def _channels_go(module: nn.Module) -> bool:
    """Whether channels can be removed; networks as small as these come near few shares."""
    before = sum(map(torch.numel, module.parameters()))
    for percent in range(30, 95, 5):
        step = make_step({"name": "channel", "target": "parameters", "keep": percent / 100})
        try:
            variant = compression.apply(module, (step,), Context(shape=SHAPE))
        except CrumpleError:
            continue
        return sum(map(torch.numel, variant.live.parameters())) < before
    return False


def test_a_network_without_such_layers_is_refused_before_a_step(images: torch.Tensor) -> None:
    net = nn.Sequential(nn.Flatten(), nn.LayerNorm(64))
    with pytest.raises(CrumpleError, match=r"torch\.nn\.Conv2d"):
        compression.apply(net, (make_step({"name": "magnitude", "sparsity": 0.5}),), Context())
    assert _moves(net, (), images)
