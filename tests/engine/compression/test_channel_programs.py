"""Channels of networks of any make: removed rightly or left alone, and read back from files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine import catalog, compression, models
from engine.catalog.compressions.pruning import ChannelParams
from engine.compression import Context
from engine.compression.layers import weight_layers
from engine.compression.methods.channel import channel
from engine.compression.removal import Removal, failing_layer, tangled_layer
from engine.errors import ModelError, SpecError
from engine.importing.source import export
from engine.models.files.tensors import shapes_of
from engine.models.programs.program import read_program
from engine.models.reshape import fit_shapes
from engine.specs.choices import make_step

SHAPE = (1, 8, 8)


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.groups = nn.Conv2d(16, 32, 3, padding=1, groups=4)
        self.last = nn.Conv2d(32, 8, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.last(F.relu(self.groups(F.relu(self.first(x))))))
        return self.head(y.mean((2, 3)))  # type: ignore[no-any-return]


class Viewed(nn.Module):
    """A fixed number of features, as in many tutorials, and BatchNorm behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.hidden = nn.Linear(8 * 16, 12)
        self.norm = nn.BatchNorm1d(12)
        self.head = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.max_pool2d(F.relu(self.conv(x)), 2).view(-1, 8 * 16)
        return self.head(F.relu(self.norm(self.hidden(y))))  # type: ignore[no-any-return]


class Shuffled(nn.Module):
    """The channels of the second layer are dealt out anew before the third reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 1)
        self.third = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(F.relu(self.first(x)))
        b, c, h, w = y.shape
        y = y.view(b, 4, c // 4, h, w).transpose(1, 2).reshape(b, c, h, w)
        return self.head(F.relu(self.third(y)).mean((2, 3)))  # type: ignore[no-any-return]


class Gated(nn.Module):
    """One channel is multiplied onto all."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.gate = nn.Conv2d(8, 1, 1)
        self.third = nn.Conv2d(8, 12, 3, padding=1)
        self.head = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.first(x))
        y = F.relu(self.third(y * torch.sigmoid(self.gate(y))))
        return self.head(y.mean((2, 3)))  # type: ignore[no-any-return]


class Normed(nn.Module):
    """Normalisation over channels, by layers and by groups."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.group = nn.GroupNorm(1, 8)
        self.hidden = nn.Linear(8, 12)
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.group(self.conv(x))).mean((2, 3))
        return self.head(F.relu(self.norm(self.hidden(y))))  # type: ignore[no-any-return]


def network(kind: type[nn.Module], folder: Path) -> nn.Module:
    torch.manual_seed(0)
    path = folder / "net.pt2"
    path.write_bytes(export(kind().eval(), SHAPE, "net"))
    return read_program(path, SHAPE)


def widths(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(layer.weight.shape[:2]) for _, layer in weight_layers(model)]


@pytest.mark.parametrize("kind", [Grouped, Viewed, Gated, Shuffled, Normed])
def test_what_is_removed_was_ignored_and_comes_back(kind: type[nn.Module], tmp_path: Path) -> None:
    """A network of the same program takes the stored sizes, and says the same bit for bit."""
    net = network(kind, tmp_path)
    smaller = channel(net, ChannelParams(keep=0.7), Context(shape=SHAPE))
    assert models.count_parameters(smaller) < models.count_parameters(net)
    again, state = network(kind, tmp_path), smaller.state_dict()
    fit_shapes(again, shapes_of(state))
    again.load_state_dict(state)
    images = torch.rand(4, *SHAPE)
    with torch.no_grad():
        assert torch.equal(again.eval()(images), smaller.eval()(images))


def test_a_layer_whose_channels_are_dealt_out_anew_keeps_them(tmp_path: Path) -> None:
    smaller = channel(network(Shuffled, tmp_path), ChannelParams(keep=0.6), Context(shape=SHAPE))
    assert widths(smaller)[1][0] == widths(smaller)[2][1] == 16
    assert widths(smaller)[0][0] < 16
    gated = channel(network(Gated, tmp_path), ChannelParams(keep=0.6), Context(shape=SHAPE))
    assert widths(gated)[0][0] == 8
    assert widths(gated)[2][0] < 12


def test_a_wrong_join_is_found_where_it_is_read() -> None:
    """Two layers in a row that lose different channels, and one behind that is right."""
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Conv2d(1 if i == 0 else 4, 4, 1) for i in range(3)), nn.Flatten())
    thin = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Flatten())
    for one, other in zip(thin, net, strict=True):
        if isinstance(one, nn.Conv2d) and isinstance(other, nn.Conv2d):
            rows, columns = one.weight.shape[:2]
            one.weight.data.copy_(other.weight[:rows, :columns])
            one.bias.data.copy_(other.bias[:rows])  # type: ignore[union-attr]
    removal = Removal(net)
    removal.outputs["0"] = removal.inputs["1"] = [0, 1, 2]
    assert tangled_layer(net, thin, removal, SHAPE) is None
    removal.inputs["1"] = [0, 1, 3]
    assert tangled_layer(net, thin, removal, SHAPE) == "1"
    thin[1] = nn.Conv2d(2, 4, 1)
    found = failing_layer(thin, SHAPE)
    assert found is not None
    assert found[0] == "1"


class Heads(nn.Module):
    """Attention whose heads are cut out by fixed sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.flatten(1, 2)
        return self.head(self.mix(y, y, y, need_weights=False)[0].mean(1))  # type: ignore[no-any-return]


def test_channels_that_cannot_be_followed_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="channels of this network cannot be followed") as refused:
        channel(network(Heads, tmp_path), ChannelParams(keep=0.7), Context(shape=SHAPE))
    assert "'filter'" in refused.value.hint


# --- what is stored is read back ---


def test_a_variant_that_would_not_come_back_is_not_written(tmp_path: Path) -> None:
    card = catalog.model_card("digits-resnet")
    base = models.load(card)
    step = make_step({"name": "channel", "keep": 0.7})
    smaller = compression.apply(base, (step,), Context(shape=SHAPE))
    folder = tmp_path / "variant"
    with pytest.raises(ModelError, match="cannot be stored"):  # nothing says that it is smaller
        compression.save(compression.Variant(smaller.live, ()), card, folder)
    assert not folder.exists()
    wired = nn.Sequential(*base).eval()
    wired.forward = lambda x: base(x) + 1  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="It gives other logits"):
        compression.save(compression.Variant(wired, ()), card, folder)
    assert not folder.exists()
