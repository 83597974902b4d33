"""Models that do what models should not: write into their input, answer in other shapes..."""

from __future__ import annotations

import copy
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import diagnostics
from engine.attacks import run_attack
from engine.attacks.registry import REGISTRY
from engine.compression.attack_view import check_agreement
from engine.diagnostics.averaged import Averaged
from engine.errors import AttackError
from engine.evaluation.model_call import ask
from engine.importing import setting_trials
from engine.pipeline import transfer_stage
from engine.training import adversary
from tests.helpers.attack_models import Wrapped, trained
from tests.helpers.torchattacks_classes import CLASSES, attack_table, coloured_images

SHORT: dict[str, dict[str, Any]] = {
    "apgd-t": {"eps": 0.1, "steps": 4, "targets": 2},
    "fab-t": {"eps": 0.1, "steps": 3, "targets": 2},
    "square": {"eps": 0.1, "n_queries": 20},
    "cw-l2": {"steps": 5, "binary_search_steps": 2},
    "ddn": {"steps": 5},
    "fmn": {"steps": 5},
    "deepfool": {"steps": 5},
    "autoattack": {"eps": 0.4},
    "fgsm": {"eps": 0.1},
}
EVERY = [*REGISTRY, *(f"torchattacks.{name}" for name in CLASSES)]


def spec_of(name: str) -> dict[str, Any]:
    if name.startswith("torchattacks."):
        return attack_table(name.removeprefix("torchattacks."))
    return {"name": name, **SHORT.get(name, {"eps": 0.1, "steps": 4})}


class InPlace(nn.Module):
    """Clamps what it is given, in place."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images.clamp_(0.2, 0.6))
        return logits


class Politely(InPlace):
    """The same function, on a tensor of its own."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.clone())


@pytest.mark.parametrize("name", EVERY)
def test_a_model_that_writes_into_its_input_is_attacked_like_its_polite_twin(name: str) -> None:
    model, images, _ = coloured_images(4)
    labels = Politely(model)(images).argmax(dim=1)
    kept = images.clone()
    found = run_attack(InPlace(model), images, labels, spec_of(name))
    assert torch.equal(images, kept)
    expected = run_attack(Politely(model), images, labels, spec_of(name))
    for field in ("adversarial", "broken", "forwards", "backwards", "broken_at_step"):
        assert torch.equal(getattr(found, field), getattr(expected, field)), field


def _uses(model: nn.Module, images: Tensor, labels: Tensor) -> Iterator[tuple[str, Any]]:
    """Whatever calls a model outside of an attack."""
    device = torch.device("cpu")
    yield "gate", diagnostics.examine(model, model, images, labels, model).numbers
    yield "logits", diagnostics.forward(model, images)
    yield "averaged", Averaged(model)(images)
    yield "agreement", check_agreement(model, model, images)
    yield "transfer", transfer_stage.misclassified(model, images, labels, 8, lambda: False)
    yield "import", setting_trials.logits(model, images, device)
    yield "accuracy", adversary.accuracy(model, images, labels)
    generator = torch.Generator().manual_seed(0)
    options: dict[str, Any] = {"eps": 0.1, "steps": 2, "generator": generator}
    yield "training", adversary.pgd_examples(model, images, labels, **options)
    yield "trades", adversary.trades_examples(model, images, **options)


def test_nothing_that_calls_a_model_lets_it_write_into_the_images() -> None:
    net, images, _ = trained()
    images = images[:24].clone()
    labels = Politely(net)(images).argmax(dim=1)
    kept = images.clone()
    polite = _uses(Politely(net).eval(), images, labels)
    for (use, found), (_, expected) in zip(
        _uses(InPlace(net).eval(), images, labels), polite, strict=True
    ):
        assert torch.equal(images, kept), use
        if isinstance(found, Tensor):
            assert torch.equal(found, expected), use
        else:
            assert found == expected, use


@pytest.mark.parametrize("name", EVERY)
def test_the_default_type_of_the_caller_does_not_matter(name: str) -> None:
    model, images, labels = coloured_images(4)
    expected = run_attack(model, images, labels, spec_of(name))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        found = run_attack(model, images, labels, spec_of(name))
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(before)
    assert found.adversarial.dtype == torch.float32
    for field in ("adversarial", "broken", "forwards", "backwards", "broken_at_step"):
        assert torch.equal(getattr(found, field), getattr(expected, field)), field


Pair = namedtuple("Pair", ["features", "logits"])
ANSWERS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "dict": (lambda z: {"aux": z, "logits": z}, "model(images)['logits']"),
    "other keys": (lambda z: OrderedDict(a=z, b=z), "model(images)['a']"),
    "named tuple": (lambda z: Pair(z, z), "model(images).logits"),
    "object": (lambda z: SimpleNamespace(out=z, loss=1), "model(images).out"),
    "tuple": (lambda z: (z, z), "model(images)[0]"),
}


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("attack", ["pgd", "torchattacks.FGSM", "square"])
def test_an_answer_that_is_no_tensor_is_told_with_the_way_out(kind: str, attack: str) -> None:
    model, images, labels = trained()
    answer, way = ANSWERS[kind]
    with pytest.raises(AttackError, match="not a tensor of logits") as caught:
        run_attack(Wrapped(model, after=answer), images[:3], labels[:3], attack)
    assert way in caught.value.hint
    if kind == "dict":
        assert "'aux', 'logits'" in caught.value.message


def test_squeezed_logits_of_one_image_are_a_row() -> None:
    model, images, _ = trained()
    labels = model(images).argmax(dim=1)
    squeezing = Wrapped(model, after=Tensor.squeeze)
    for count in (1, 5):
        found = run_attack(squeezing, images[:count], labels[:count], "torchattacks.DeepFool")
        same = run_attack(model, images[:count], labels[:count], "torchattacks.DeepFool")
        assert torch.equal(found.adversarial, same.adversarial)
        found = run_attack(squeezing, images[:count], labels[:count], "pgd")
        assert torch.equal(
            found.adversarial, run_attack(model, images[:count], labels[:count], "pgd").adversarial
        )


@pytest.mark.parametrize("type_", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("attack", ["pgd", "fmn", "torchattacks.PGD", "square"])
def test_weights_of_another_precision_are_given_images_of_theirs(
    type_: torch.dtype, attack: str
) -> None:
    net, images, _ = trained()
    other = copy.deepcopy(net).eval().to(type_)
    labels = other(images[:8].to(type_)).argmax(dim=1)
    result = run_attack(other, images[:8], labels, spec_of(attack))
    assert result.adversarial.dtype == torch.float32
    with torch.no_grad():
        again = other(result.adversarial.to(type_)).argmax(dim=1)
    assert torch.equal(again != labels, result.broken)


class Columns(nn.Module):
    """The same classes as ``masked`` leaves, and no others."""

    def __init__(self, inner: nn.Module, left: int) -> None:
        super().__init__()
        self.inner, self.left = inner, left

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        return logits[:, : self.left]


def _masked(model: nn.Module, left: int) -> Wrapped:
    """Never says a class from ``left`` on."""
    return Wrapped(model, after=lambda z: z.index_fill(1, torch.arange(left, 10), -torch.inf))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("left", [2, 7])
def test_classes_that_are_masked_out_are_no_targets(name: str, left: int) -> None:
    model, images, _ = coloured_images(6)
    labels = Columns(model, left)(images).argmax(dim=1)
    found = run_attack(_masked(model, left), images, labels, spec_of(name))
    assert found.adversarial.isfinite().all()
    assert not any("not finite" in note for note in found.notes)
    if not name.startswith("torchattacks."):
        expected = run_attack(Columns(model, left), images, labels, spec_of(name))
        assert torch.equal(found.broken, expected.broken)


def test_ask_keeps_the_gradient() -> None:
    model, images, _ = trained()
    leaf = images[:2].clone().requires_grad_()
    (found,) = torch.autograd.grad(ask(InPlace(model), leaf).sum(), leaf)
    other = images[:2].clone().requires_grad_()
    (expected,) = torch.autograd.grad(Politely(model)(other).sum(), other)
    assert torch.equal(found, expected)
