"""Networks of users that write, draw, remember or compute their weights: right, or refused."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from engine.errors import ModelError
from engine.importing import foreign, setting_trials
from engine.importing.candidate_model import Patient
from engine.importing.source import export_classifier
from engine.importing.whole_network import from_program

SHAPE = (1, 8, 8)
CLASSES = 4


class Net(nn.Module):
    """A convolution and a head, with something before them."""

    def __init__(self, before: Callable[[nn.Module, Tensor], Tensor] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(1, 6, 3, padding=1), nn.Linear(6, CLASSES)
        self.register_buffer("mean", torch.zeros(()))
        self.before = before or (lambda net, x: x)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(self.before(self, x)))
        return 5 * self.head(y.amax((2, 3)))  # type: ignore[no-any-return]


def _imported(net: nn.Module, folder: Path) -> tuple[Patient, list[str]]:
    content, notes = export_classifier(net, SHAPE, "net.py:make")
    path = folder / "net.pt2"
    path.write_bytes(content)
    return from_program(path, SHAPE), notes


def _images(count: int = 9) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(3))


def _whole(net: nn.Module, x: Tensor) -> Tensor:
    x[:] = x * 0.5
    return x


def _where(net: nn.Module, x: Tensor) -> Tensor:
    x[x < 0.3] = 0
    return x


def _without_gradients(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        x.mul_(0.5)
    return x


def _flat(net: nn.Module, x: Tensor) -> Tensor:
    x.view(-1).mul_(0.5)
    return x


def _data(net: nn.Module, x: Tensor) -> Tensor:
    x.data.mul_(0.5)
    return x


WRITERS = [
    *(_whole, _where, _without_gradients, _flat, _data),
    lambda net, x: x.copy_(x.flip(3)),
    lambda net, x: x.sub_(0.2).relu_(),
    lambda net, x: x.masked_fill_(x < 0.3, 0.0),
]


@pytest.mark.parametrize("before", WRITERS)
def test_a_network_that_writes_into_its_input_is_taken_as_it_is(
    before: Callable[[nn.Module, Tensor], Tensor], tmp_path: Path
) -> None:
    net, images = Net(before), _images()
    patient, notes = _imported(net, tmp_path)
    assert [*notes, *patient.notes] == []
    network = patient.network(SHAPE, None)
    with torch.no_grad():
        assert torch.allclose(network(images.clone()), net(images.clone()), atol=1e-6)
    own = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(own.clone()).sum(), own)
    assert gradient.abs().amax() > 0


def test_a_part_without_gradients_gets_them(tmp_path: Path) -> None:
    def features(net: nn.Module, x: Tensor) -> Tensor:
        with torch.no_grad():
            return x.data + 0.1

    net, images = Net(features), _images().requires_grad_()
    network = _imported(net, tmp_path)[0].network(SHAPE, None)
    assert torch.allclose(network(images), net(images), atol=1e-6)
    assert "forward" not in vars(net)


COMPUTED: dict[str, Callable[[nn.Module], object]] = {
    "weight norm": lambda net: parametrizations.weight_norm(net.conv),
    "older weight norm": lambda net: weight_norm(net.head),
    "spectral norm": lambda net: parametrizations.spectral_norm(net.conv),
    "older spectral norm": lambda net: spectral_norm(net.head),
    "pruned": lambda net: prune.l1_unstructured(net.conv, "weight", 0.5),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", COMPUTED)
def test_computed_weights_become_plain_ones_that_can_be_compressed(
    kind: str, tmp_path: Path
) -> None:
    net, images = Net(), _images()
    count = sum(one.numel() for one in net.parameters())
    COMPUTED[kind](net)
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(1.7)  # no weight that was computed once is right any more
    net.train()(images)
    net.eval()
    names = set(net.state_dict())
    patient, notes = _imported(net, tmp_path)
    assert notes == [foreign.BAKED]
    assert patient.compressible
    assert set(net.state_dict()) == names
    network = patient.network(SHAPE, None)
    assert sum(one.numel() for one in network.parameters()) == count
    assert torch.allclose(network(images), net(images), atol=1e-5)


def _own_generator() -> Callable[[nn.Module, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(3)
    return lambda net, x: x + torch.rand(x.shape, generator=generator)


def _seeded(net: nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(0)
    return x + torch.randn_like(x)


def _remembers(net: nn.Module, x: Tensor) -> Tensor:
    net.mean.mul_(0.9).add_(0.1 * x.detach().mean())  # type: ignore[operator, union-attr]
    return x - net.mean  # type: ignore[operator]


REFUSED: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], str, str]] = {
    "own generator": (_own_generator(), "is random", "torch.rand"),
    "seldom random": (
        lambda net, x: x.flip(3) if random.random() < 1e-9 else x,
        "is random",
        "torch.rand",
    ),
    "numpy": (lambda net, x: x + float(np.random.rand()), "is random", "torch.rand"),
    "seeds": (_seeded, "seeds torch's generator", "register_buffer"),
    "remembers": (_remembers, "changes 'mean' in every forward", "self.training"),
    "one path": (lambda net, x: x if x.mean() > 0.2 else 2 * x, "exported", "torch.where"),
    "fixed batch": (lambda net, x: x.view(2, 1, 8, 8), "fails on 16", "x.flatten(1)"),
    "sizes": (lambda net, x: x if len(x) > 4 else 1 - x, "exported", "branch"),
    "no number": (lambda net, x: x * torch.nan, "gives NaN", "retrain"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_program_keeps_is_refused_with_a_way_out(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before, reason, hint = REFUSED[kind]
    with pytest.raises(ModelError, match=reason) as told:
        export_classifier(Net(before), SHAPE, "net.py:make")
    assert hint in told.value.hint
    assert capfd.readouterr() == ("", "")


def test_numbers_of_classes_are_no_logits() -> None:
    net = Net()
    with pytest.raises(ModelError, match="int64 numbers") as told:
        export_classifier(_Behind(net, lambda z: z.argmax(1)), SHAPE, "net.py:make")
    assert "argmax" in told.value.hint


class _Behind(nn.Module):
    def __init__(self, net: nn.Module, behind: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.behind = net, behind

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(self.net(x))


def test_a_program_with_a_memory_is_refused(tmp_path: Path) -> None:
    net, batch = Net(_remembers), torch.export.Dim("batch")
    program = torch.export.export(net, (_images(2),), dynamic_shapes=({0: batch},))
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    with pytest.raises(ModelError, match=r"changes '.*mean' in every forward"):
        from_program(path, SHAPE)


def test_what_has_no_gradient_is_refused_when_it_is_imported(tmp_path: Path) -> None:
    net = Net(lambda net, x: torch.mul(x, 0.5, out=x))
    with pytest.raises(ModelError, match=r"mul\.out") as told:
        _imported(net, tmp_path)
    assert "other operations" in told.value.hint


def test_a_network_that_draws_once_for_a_batch_is_measured_image_by_image(tmp_path: Path) -> None:
    def roll(net: nn.Module, x: Tensor) -> Tensor:
        return x[..., (torch.arange(8) + torch.randint(0, 8, (1,))) % 8]

    patient, notes = _imported(Net(roll), tmp_path)
    assert any("random" in note for note in notes)
    images = _images(1).expand(40, -1, -1, -1)
    assert (
        len(
            setting_trials.logits(
                patient.network(SHAPE, None), images, torch.device("cpu")
            ).unique()
        )
        > CLASSES
    )


class Table(nn.Module):
    """Looks pixels up."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(17, 2), nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.table((x * 16).long()).flatten(1))  # type: ignore[no-any-return]


def test_pixels_in_a_table_have_no_other_normalisation(tmp_path: Path) -> None:
    net, images = Table().eval(), _images()
    network = _imported(net, tmp_path)[0].network(SHAPE, None)
    assert torch.allclose(network(images), net(images))
    image_set = _Images(images)
    half = setting_trials.with_scaling(
        network, setting_trials.Scaling(label="half", mean=(0.5,), std=(0.5,))
    )
    rows, cpu = range(len(images)), torch.device("cpu")
    tried = setting_trials.outcome("half", half, image_set, rows, cpu)  # type: ignore[arg-type]
    assert tried.accuracy == 0
    assert tried.loss == float("inf")


class _Images:
    def __init__(self, images: Tensor) -> None:
        self.images, self.labels = images, torch.zeros(len(images), dtype=torch.int64)
        self.class_names = tuple("abcd")


FILE = """
import torch
from beside_{number} import Net
print("as a user does")
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
def make():
    return Net()
"""
BESIDE = """
from torch import nn
class Net(nn.Linear):
    def __init__(self):
        super().__init__(64, 4)
    def forward(self, x):
        return super().forward(x.flatten(1))
"""


def test_a_file_imports_what_lies_beside_it_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text(FILE.format(number=1))
    (tmp_path / "beside_1.py").write_text(BESIDE)
    (tmp_path / "json.py").write_text("raise RuntimeError('a trap')")
    before = list(sys.path)
    try:
        net = foreign.make(tmp_path / "net.py", "make")
    finally:
        sys.modules.pop("beside_1", None)
    assert {one.dtype for one in net.parameters()} == {torch.float64}
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert sys.path == before
    assert capsys.readouterr().out == ""


def test_a_file_that_ends_the_program_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import sys\nsys.exit(2)\n")
    with pytest.raises(ModelError, match="ends the program") as told:
        foreign.make(tmp_path / "net.py", "make")
    assert "__main__" in told.value.hint
