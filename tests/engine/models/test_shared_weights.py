"""What a network shares stays shared: imported, counted, masked, trained and stored as one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import compression
from engine.compression import Context
from engine.compression.layers import bare_matrices, weight_layers
from engine.compression.macs import count_macs
from engine.costs.accounting import account, input_bits
from engine.errors import ModelError
from engine.importing.doctor import Request, import_model
from engine.importing.source import export
from engine.models.files.tensors import count_parameters, tied_parameters
from engine.models.programs.program import read_program
from engine.models.reshape import fit_shapes
from engine.specs.choices import make_step
from engine.specs.dataset import DatasetSpec

SHAPE = (1, 8, 8)
WIDTH = 4


class Net(nn.Module):
    """A first convolution, something that shares, and a head."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, WIDTH, 3, padding=1)
        self.middle = middle
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.middle(F.relu(self.first(x)))
        return self.head(y.mean((2, 3)))  # type: ignore[no-any-return]


def _convolution(**options: int) -> nn.Conv2d:
    return nn.Conv2d(WIDTH, WIDTH, 3, padding=1, **options)  # type: ignore[arg-type]


class Thrice(nn.Module):
    """One convolution and one BatchNorm, called at three sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm = _convolution(), nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = F.max_pool2d(F.relu(self.norm(self.one(x))), 2)
        return x


class Pair(nn.Module):
    """Two convolutions, the second with tensors of the first."""

    def __init__(self, *tied: str, **options: int) -> None:
        super().__init__()
        self.one, self.other = _convolution(), _convolution(**options)
        for name in tied:
            setattr(self.other, name, getattr(self.one, name))

    def forward(self, x: Tensor) -> Tensor:
        return self.other(F.relu(self.one(x)))  # type: ignore[no-any-return]


class Turned(nn.Module):
    """A linear layer on channels, and back through its transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.one(x.permute(0, 2, 3, 1)))
        return F.linear(y, self.one.weight.t()).permute(0, 3, 1, 2)


MADE: dict[str, tuple[Callable[[], nn.Module], int, bool]] = {
    "one convolution and BatchNorm, called three times": (Thrice, 3, True),
    "a weight with two biases": (lambda: Pair("weight"), 3, True),
    "a bias with two weights": (lambda: Pair("bias"), 4, True),
    "weight and bias": (lambda: Pair("weight", "bias"), 3, True),
    "a weight at two strides": (lambda: Pair("weight", stride=2), 2, False),
    "a weight and its transpose": (Turned, 2, False),
}
"""What shares, how many layers that are modules, whether they hold all weights."""


def _program(middle: nn.Module, folder: Path) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    net = Net(middle).eval()
    path = folder / "net.pt2"
    path.write_bytes(export(net, SHAPE, "net"))
    return net, read_program(path, SHAPE)


@pytest.mark.parametrize("name", MADE)
def test_each_tensor_is_there_once(name: str, tmp_path: Path) -> None:
    make, layers, complete = MADE[name]
    net, module = _program(make(), tmp_path)
    images = torch.rand(5, *SHAPE)
    assert torch.allclose(module(images), net(images), atol=1e-6)
    assert count_parameters(module) == count_parameters(net)
    storages = [one.untyped_storage().data_ptr() for one in module.state_dict().values()]
    assert len(set(storages)) == len(storages)
    assert len(weight_layers(module)) == layers
    assert complete is (not bare_matrices(module))


@pytest.mark.parametrize("name", [name for name, (_, _, complete) in MADE.items() if complete])
def test_a_mask_acts_in_every_place_and_survives_training(name: str, tmp_path: Path) -> None:
    _, module = _program(MADE[name][0](), tmp_path)
    variant = compression.apply(
        module, (make_step({"name": "magnitude", "sparsity": 0.5}),), Context()
    )
    live = variant.live
    optimiser = torch.optim.SGD([one for one in live.parameters() if one.is_floating_point()], 0.1)
    live.requires_grad_(True)
    for _ in range(3):
        optimiser.zero_grad()
        F.cross_entropy(live(torch.rand(8, *SHAPE)), torch.arange(8) % 3).backward()
        optimiser.step()
    weights = [layer.weight for _, layer in weight_layers(live)]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    assert zeros == round(0.5 * sum(weight.numel() for weight in weights))
    assert count_parameters(variant.deployed()) == count_parameters(module)


def test_work_counts_per_call_and_storage_once(tmp_path: Path) -> None:
    net, module = _program(Thrice(), tmp_path)
    step = (make_step({"name": "ptq", "bits": 4}),)
    counted = account(module, compression.apply(module, step, Context()), SHAPE)
    kernel = WIDTH * WIDTH * 9
    assert [layer.weights for layer in counted.layers] == [WIDTH * 9, kernel, WIDTH * 3]
    assert [layer.macs for layer in counted.layers][1] == kernel * (64 + 16 + 4)
    assert counted.macs == sum(count_macs(net, SHAPE).values())
    buffers = 2 * WIDTH
    assert counted.dense_bytes == 4 * (count_parameters(net) + buffers)


def test_a_layer_that_also_reads_real_numbers_reads_real_numbers(tmp_path: Path) -> None:
    class Later(Thrice):
        def forward(self, x: Tensor) -> Tensor:
            return self.one(F.relu(self.one(F.relu(x) + 0.3)))  # type: ignore[no-any-return]

    _, module = _program(Later(), tmp_path)
    step = (make_step({"name": "ptq", "bits": 4, "activation_bits": 4}),)
    variant = compression.apply(module, step, Context(torch.rand(16, *SHAPE)))
    assert list(input_bits(variant.deployed(), SHAPE).values())[1] == 32


@pytest.mark.parametrize(
    "name", [name for name in MADE if "called" in name or name.startswith("a weight with")]
)
@pytest.mark.filterwarnings("ignore:Unwrapped parameters")
def test_channels_go_in_all_places_and_come_back(name: str, tmp_path: Path) -> None:
    _, module = _program(MADE[name][0](), tmp_path)
    step = (make_step({"name": "channel", "keep": 0.6}),)
    variant = compression.apply(module, step, Context(shape=SHAPE))
    widths = {layer.weight.shape[0] for _, layer in weight_layers(variant.live)[:-1]}
    assert len(widths) == 1
    assert widths < {1, 2, 3}
    again = read_program(tmp_path / "net.pt2", SHAPE)
    state = variant.live.state_dict()
    fit_shapes(again, {name: tuple(one.shape) for name, one in state.items()})
    again.load_state_dict(state)
    images = torch.rand(4, *SHAPE)
    assert torch.equal(again(images), variant.live(images))


def test_what_is_used_in_different_ways_is_named(tmp_path: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text(
        "import torch\n"
        "from torch import nn\n"
        "from torch.nn import functional as F\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.inner, self.head = nn.Linear(64, 8), nn.Linear(64, 10)\n"
        "    def forward(self, x):\n"
        "        y = F.relu(self.inner(x.flatten(1)))\n"
        "        return self.head(F.linear(y, self.inner.weight.t()))\n"
        "def make():\n"
        "    return Net()\n"
    )
    request = Request(f"{source}:make", DatasetSpec.model_validate({"name": "digits"}), keep=True)
    report = import_model(request, None, confirm=lambda _: True).report
    assert report.compressible
    # By hand: 512 of the inner layer beside 640 of the head.
    told = "44.4% of its weights lie in no convolution or linear layer, among them 'inner.weight'"
    assert any(told in note for note in report.notes)


@pytest.mark.parametrize("name", ["code", "graph"])
def test_a_part_that_torch_cannot_name_is_told(name: str, tmp_path: Path) -> None:
    net = nn.Sequential()
    net.add_module(name, nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    path = tmp_path / "net.pt2"
    path.write_bytes(export(net, SHAPE, "net"))
    with pytest.raises(ModelError) as told:
        read_program(path, SHAPE)
    assert f"'{name}'" in told.value.hint


def test_a_parameter_under_two_names_is_named() -> None:
    pair = Pair("weight")
    assert tied_parameters(pair) == ("one.weight", "other.weight")
    assert tied_parameters(Thrice()) == ()
