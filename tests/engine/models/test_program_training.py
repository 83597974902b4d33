"""An imported program learns as the user's own network would, on any device, whole or thinned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from engine import catalog
from engine.catalog.models.cards import EXPORTED, program_fingerprint, read_card
from engine.catalog.training import StandardParams
from engine.compression.layers import bare_matrices
from engine.importing.source import export
from engine.models.programs.program import read_program
from engine.training import Examples, train
from tests.helpers.checkpoints import ask

SHAPE = (1, 8, 8)
_WEIGHTED = nn.Conv2d | nn.Linear | nn.modules.batchnorm._BatchNorm


class Chain(nn.Module):
    """BatchNorm of both dimensions with settings of its own, dropout of two kinds."""

    def __init__(self, p: float = 0.0, momentum: float | None = 0.3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4, eps=1e-2, momentum=momentum)
        self.drop = nn.Dropout2d(p)
        self.hidden = nn.Linear(16, 8)
        self.flat = nn.BatchNorm1d(8, momentum=0.7, affine=False)
        self.head = nn.Linear(8, 3)
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.max_pool2d(self.drop(torch.relu(self.norm(self.conv(x)))), 3)
        y = self.flat(self.hidden(y.view(-1, 16)))
        return self.head(F.dropout(y, self.p, self.training))  # type: ignore[no-any-return]


def chain(p: float = 0.0, momentum: float | None = 0.3) -> nn.Module:
    torch.manual_seed(0)
    return Chain(p, momentum).eval()


def imported(net: nn.Module, folder: Path, shape: tuple[int, int, int] = SHAPE) -> fx.GraphModule:
    path = folder / "net.pt2"
    path.write_bytes(export(net, shape, "net"))
    return read_program(path, shape)


def examples(count: int = 24, seed: int = 1) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, *SHAPE, generator=generator)
    return Examples(images, torch.arange(count) % 3)


def taught(net: nn.Module, **changes: object) -> nn.Module:
    asked = {"epochs": 2, "batch_size": 8, "lr": 0.05, "augmentation": "none", **changes}
    train(net, examples(), examples(9, 2), StandardParams.model_validate(asked), 0)
    return net.eval()


def state_of(net: nn.Module) -> list[torch.Tensor]:
    """All tensors of the layers, in the order in which they are called."""
    layers = [one for one in net.modules() if isinstance(one, _WEIGHTED)]
    return [tensor for one in layers for tensor in one.state_dict().values()]


@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize("momentum", [0.3, None])
def test_a_program_learns_as_the_network_it_was(
    p: float, momentum: float | None, tmp_path: Path
) -> None:
    """From a state that training left before, so that a mean over all batches goes on, too."""
    net = taught(chain(p, momentum))
    module = imported(net, tmp_path)
    before = [tensor.clone() for tensor in state_of(net)]
    for own, other in zip(state_of(taught(net)), state_of(taught(module)), strict=True):
        torch.testing.assert_close(other, own, rtol=1e-5, atol=1e-6)
    moved = [not torch.equal(a, b) for a, b in zip(before, state_of(module), strict=True)]
    assert all(moved)


def test_dropout_acts_in_training_alone(tmp_path: Path) -> None:
    module, images = imported(chain(p=0.4), tmp_path), examples().images[:]
    shares = [one.p for one in module.modules() if isinstance(one, nn.modules.dropout._DropoutNd)]
    assert shares == [0.4, 0.4]
    assert torch.equal(ask(module, images), ask(module, images))
    module.train()
    assert not torch.equal(module(images), module(images))


@pytest.mark.parametrize(
    "kind", [nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout]
)
def test_every_dropout_comes_back_as_its_kind(kind: type[nn.Module], tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(2), kind(0.3), nn.Flatten(), nn.Linear(64, 3))
    found = [type(one) for one in imported(net.eval(), tmp_path).modules()]
    assert kind in found


def test_what_the_user_froze_stays_frozen(tmp_path: Path) -> None:
    net = chain()
    net.conv.weight.requires_grad_(False)  # type: ignore[union-attr,operator]
    module = imported(net, tmp_path)
    frozen = [name for name, one in module.named_parameters() if not one.requires_grad]
    assert frozen == ["conv2d.weight"]
    first = module.conv2d.weight.clone()  # type: ignore[operator,union-attr]
    assert torch.equal(taught(module).conv2d.weight, first)  # type: ignore[arg-type]
    wholly = imported(net.requires_grad_(False), tmp_path)
    assert all(one.requires_grad for one in wholly.parameters())


def test_statistics_of_the_batch_are_no_training_mode(tmp_path: Path) -> None:
    """The reason is what such a network does, not how it was exported."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.Flatten(),
        nn.Linear(144, 3),
    )
    module = imported(net.eval(), tmp_path)
    images = torch.rand(5, 1, 8, 8)
    for part in (images, images[:1]):
        assert torch.allclose(module(part), net(part), atol=1e-5), "as its batch makes it"


class Products(nn.Module):
    """Attention, a transposed convolution or a bare matrix."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.bare = nn.Parameter(torch.eye(8))
        self.up = nn.ConvTranspose2d(1, 1, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.flatten(1, 2)
        if self.kind == "attention":
            y = self.mix(y, y, y, need_weights=False)[0]
            y = torch.softmax(y @ y.transpose(1, 2), 2) @ y
        if self.kind == "matrix":
            y = y @ self.bare.t()
        if self.kind == "transposed":
            y = self.up(x)[:, 0, :8, :8] + y
        return self.head(y.mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("kind", "alone"), [("attention", 0), ("matrix", 8 * 8), ("transposed", 2 * 2)]
)
def test_only_weights_of_products_are_counted_as_in_no_layer(
    kind: str, alone: int, tmp_path: Path
) -> None:
    net, images = Products(kind).eval(), examples().images[:]
    path = tmp_path / "net.pt2"
    path.write_bytes(export(net, SHAPE, "net"))
    module = read_program(path, SHAPE)
    assert sum(one.numel() for one in bare_matrices(module)) == alone
    assert torch.allclose(ask(module, images), ask(net, images), atol=1e-5)


class Places(nn.Module):
    """Names the device of its images in every way that an export writes down."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = x.shape[0]
        y = x.to(torch.float32).flatten(1)[:, :12] * torch.arange(12, device=x.device)
        y = torch.cat([y, torch.zeros(n, 2, device=x.device), torch.ones(n, 2)], 1)
        return self.head(y.to("cpu"))  # type: ignore[no-any-return]


def test_tensors_are_made_where_the_image_is(tmp_path: Path) -> None:
    module = imported(Places().eval(), tmp_path)
    for node in module.graph.nodes:
        assert "assert_tensor_metadata" not in str(node.target)
        assert "device(" not in f"{node.args} {node.kwargs}"
    images = torch.empty(2, *SHAPE, device="meta")
    assert module.to("meta")(images).device.type == "meta"


class Shuffle(nn.Module):
    """Every reshape names its sizes; ``view`` also joins channels to tokens and back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        y = x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        y = y.view(b, c, h * w).transpose(1, 2).view(b, h * w, c).transpose(1, 2)
        return y.reshape(-1, 4 * 64)


@pytest.mark.parametrize("batch", [None, 4])
def test_reshapes_leave_the_channels_open(batch: int | None, tmp_path: Path) -> None:
    """The same graph works on half the channels."""
    net = nn.Sequential(nn.Conv2d(1, 4, 1), Shuffle(), nn.Linear(256, 3)).eval()
    path = tmp_path / "net.pt2"
    free = ({0: torch.export.Dim("batch")},) if batch is None else None
    images = (torch.rand(batch or 2, *SHAPE),)
    torch.export.save(torch.export.export(net, images, dynamic_shapes=free), path)
    module = read_program(path, SHAPE)
    module.conv2d, module.linear = nn.Conv2d(1, 2, 1), nn.Linear(128, 3)
    thin = nn.Sequential(module.conv2d, ThinShuffle(), module.linear)
    images = (torch.rand(5, *SHAPE),)
    assert torch.allclose(ask(module, *images), ask(thin, *images))


class ThinShuffle(nn.Module):
    """What ``Shuffle`` does to two channels: it leaves their order."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


def card_of(net: Callable[[], nn.Module], folder: Path, fingerprint: str) -> Path:
    (folder / "net.pt2").write_bytes(export(net(), SHAPE, "net"))
    fields = {
        **catalog.model_card("digits-resnet").model_dump(mode="json"),
        **{"id": "net", "architecture": EXPORTED, "fingerprint": fingerprint},
    }
    (folder / "net.json").write_text(json.dumps(fields))
    return folder / "net.json"


def test_a_program_of_an_older_version_is_another_model_with_the_same_file(tmp_path: Path) -> None:
    """Its layers became other modules then: nothing that was made from those is used again."""
    card = read_card(card_of(chain, tmp_path, "0" * 64))
    program = (tmp_path / "net.pt2").read_bytes()
    assert card.fingerprint == program_fingerprint(program, None)
    told = program_fingerprint(program, None)[:-1] + "x"
    assert read_card(card_of(chain, tmp_path, told)).fingerprint == told
