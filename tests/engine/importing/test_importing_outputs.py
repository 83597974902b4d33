"""Networks of odd outputs and types: logits where the way is exact, else one clear sentence."""

from __future__ import annotations

import random
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.diagnostics import OneByOne, choose_view
from engine.diagnostics.checks import check_outputs
from engine.errors import ModelError
from engine.importing.source import export_classifier
from engine.importing.verdict import judge
from engine.importing.whole_network import from_program
from engine.models.programs.program import read_program

SHAPE = (1, 8, 8)
CLASSES = 4
Pair = namedtuple("Pair", "features logits")


class Net(nn.Module):
    """A convolution, BatchNorm and a head, with a function behind it."""

    def __init__(
        self, classes: int = CLASSES, behind: Callable[[Tensor], Any] | None = None
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, classes)
        self.norm.running_var = torch.rand(6) + 0.5
        self.behind = behind or (lambda z: z)
        self.eval()

    def logits(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.conv(x)))
        return 5 * self.head(y.amax((2, 3)))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Any:
        return self.behind(self.logits(x))


class Votes(nn.Module):
    """Mean probabilities of two nets."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.one, self.other = Net(classes), Net(classes)
        self.other.head.weight.data.mul_(0.5)
        self.sigmoid = classes == 1

    def forward(self, x: Tensor) -> Tensor:
        link = torch.sigmoid if self.sigmoid else lambda z: z.softmax(1)
        return (link(self.one(x)) + link(self.other(x))) / 2


def _imported(net: nn.Module, folder: Path) -> tuple[nn.Module, list[str]]:
    content, notes = export_classifier(net, SHAPE, "net.py:make")
    path = folder / "net.pt2"
    path.write_bytes(content)
    return read_program(path, SHAPE), notes


def _images(count: int = 9) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(3))


FORMS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "logits": (lambda z: z, ""),
    "log-softmax": (lambda z: z.log_softmax(1), ""),
    "softmax": (lambda z: z.softmax(1), "softmax at its end was left out"),
    "softmax and a view": (lambda z: z.softmax(-1).reshape(-1, CLASSES), "softmax at its end"),
    "squeezed": (lambda z: z.squeeze(), "became one row"),
    "pixels of one": (lambda z: z[:, :, None, None], "became one row"),
    "a tuple of one": (lambda z: (z,), ""),
    "a tuple": (lambda z: (z.argmax(1), z), "the one at 1"),
    "a named tuple": (lambda z: Pair(2 * z, z), "'logits'"),
    "a dictionary of one": (lambda z: {"out": z}, "'out'"),
    "a dictionary": (lambda z: OrderedDict(features=2 * z, logits=z), "'logits'"),
}


@pytest.mark.parametrize("name", FORMS)
def test_many_classes(name: str, tmp_path: Path) -> None:
    behind, told = FORMS[name]
    net, images = Net(behind=behind), _images()
    module, notes = _imported(net, tmp_path)
    expected = net.logits(images).softmax(1)
    assert torch.allclose(module(images).softmax(1), expected, atol=1e-6)
    assert torch.allclose(module(images[:1]).softmax(1), expected[:1], atol=1e-6)
    assert bool(notes) is bool(told)
    assert told in " ".join(notes)


BINARY: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "logit": (lambda z: z, "(0, z)"),
    "sigmoid": (torch.sigmoid, "sigmoid at its end was left out"),
    "squeezed sigmoid": (lambda z: torch.sigmoid(z).squeeze(), "became one row"),
    "sigmoid of a row": (lambda z: torch.sigmoid(z)[:, 0], "log p"),
}


@pytest.mark.parametrize("name", BINARY)
def test_one_output_is_two_classes(name: str, tmp_path: Path) -> None:
    behind, told = BINARY[name]
    net, images = Net(1, behind), _images()
    module, notes = _imported(net, tmp_path)
    share = torch.sigmoid(net.logits(images))[:, 0]
    assert torch.allclose(module(images).softmax(1)[:, 1], share, atol=1e-6)
    assert torch.equal(module(images).argmax(1), (share > 0.5).long())
    assert module(images[:1]).shape == (1, 2)
    assert told in " ".join(notes)


@pytest.mark.parametrize("classes", [1, CLASSES])
def test_votes_are_probabilities_whose_logarithms_are_logits(classes: int, tmp_path: Path) -> None:
    net, images = Votes(classes).eval(), _images()
    module, notes = _imported(net, tmp_path)
    expected = net(images) if classes > 1 else torch.cat([1 - net(images), net(images)], 1)
    assert torch.allclose(module(images).softmax(1), expected, atol=1e-6)
    assert "probabilit" in " ".join(notes)


def test_a_saturated_sigmoid_keeps_its_slope(tmp_path: Path) -> None:
    net = Net(1, lambda z: torch.sigmoid(1000 * z))
    module, _ = _imported(net, tmp_path)
    images = _images().requires_grad_()
    (gradient,) = torch.autograd.grad(module(images)[:, 1].sum(), images)
    assert gradient.flatten(1).any(dim=1).all()


REFUSED: dict[str, tuple[Callable[[Tensor], Any], str, str]] = {
    "two tensors": (lambda z: (z, 2 * z), r"a tuple of \(16, 4\), \(16, 4\)", "[NUMBER]"),
    "two keys": (lambda z: {"a": z, "b": z}, r"a dictionary of 'a' \(16, 4\), 'b'", "['KEY']"),
    "pixels": (lambda z: z[:, :, None, None].expand(-1, -1, 2, 2), "a row for every pixel", "mean"),
    "one for all": (lambda z: z.mean(), r"outputs of the shape \(\)", "(images, classes)"),
    "text": (lambda z: "cat", "a str", "tensor of logits"),
    "numbers of python": (lambda z: z * random.random(), "random", "torch.rand"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_guessed_is_said_with_the_line_to_add(name: str) -> None:
    behind, reason, hint = REFUSED[name]
    with pytest.raises(ModelError, match=reason) as told:
        export_classifier(Net(behind=behind), SHAPE, "net.py:make")
    assert hint in told.value.hint


@pytest.mark.parametrize("behind", [lambda z: F.dropout(z, 0.5, True), torch.rand_like],
                         ids=["dropout", "rand"])  # fmt: skip
def test_randomness_of_torch_stays_random(
    behind: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    net, images = Net(behind=behind), _images()
    module, notes = _imported(net, tmp_path)
    assert any("random" in note for note in notes)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        expected = net(images)
        torch.manual_seed(5)
        assert torch.equal(module(images), expected)
        assert not torch.equal(module(images), expected)


TYPES = {"float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize("name", TYPES)
def test_other_types_become_float32(name: str, inside: bool, tmp_path: Path) -> None:
    class Casting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net().to(TYPES[name])

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.to(TYPES[name]))  # type: ignore[no-any-return]

    net = Casting() if inside else Net().to(TYPES[name])
    path = tmp_path / "net.pt2"
    path.write_bytes(export_classifier(net.eval(), SHAPE, "net.py:make")[0])
    patient = from_program(path, SHAPE)
    assert patient.module is not None
    assert {one.dtype for one in patient.module.parameters()} == {torch.float32}
    assert any(name in note and "float32" in note for note in patient.notes)
    images = _images()
    found, expected = patient.module(images), Net().to(TYPES[name])(images.to(TYPES[name]))
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected.float(), atol=1e-5 if name == "float64" else 0.5)


def test_what_depends_on_the_batch_is_measured_alone(tmp_path: Path) -> None:
    net = Net(behind=lambda z: z - z.mean(0) / 2)
    path = tmp_path / "net.pt2"
    path.write_bytes(export_classifier(net, SHAPE, "net.py:make")[0])
    patient = from_program(path, SHAPE)
    assert any("one image at a time" in note for note in patient.notes)
    network, images = patient.network(SHAPE, None), _images()
    assert isinstance(network, OneByOne)
    alone = torch.cat([net(images[at : at + 1]) for at in range(len(images))])
    assert torch.allclose(network(images), alone, atol=1e-5)


def test_masked_classes_are_no_ruin(tmp_path: Path) -> None:
    def masked(z: Tensor) -> Tensor:
        return z.masked_fill(torch.arange(CLASSES) == 2, -torch.inf)

    module, _ = _imported(Net(behind=masked), tmp_path)
    images = torch.rand(40, *SHAPE)
    logits = module(images)
    assert torch.isneginf(logits[:, 2]).all()
    labels = logits.argmax(1)
    (flag,) = check_outputs(logits)
    assert (flag.id, flag.level) == ("masked-classes", "info")
    assert flag.text.endswith(": 2.")
    assert judge(logits, labels, ()).health == judge(logits[:, [0, 1, 3]], labels, ()).health
    ids = {one.id for one in choose_view(module, module, images, labels).report.flags}
    assert "nonfinite-output" not in ids
    assert [one.id for one in check_outputs(logits * torch.nan)] == ["nonfinite-output"]
