"""The library behind the adapter, beside our own attack of the same name."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import Tensor

from engine import catalog
from engine.attacks import run_attack
from engine.attacks.search.noise import batch_seed
from engine.attacks.search.passes import Pass
from engine.attacks.torchattacks.adapter import TorchattacksAttack
from engine.catalog import Params
from engine.catalog.entry import NoParams
from engine.errors import AttackError
from tests.helpers.attack_models import trained


@pytest.mark.parametrize("eps", [0.05, 0.1, 0.15])
def test_own_pgd_matches_the_library(eps: float) -> None:
    """Both start at the clean image: the luck of random starts alone is worth 1 or 2 points."""
    model, images, labels = trained()
    shared = {"eps": eps, "steps": 20, "random_start": False}
    own = run_attack(model, images, labels, {"name": "pgd", "step_size": eps / 8, **shared})
    theirs = run_attack(
        model, images, labels, {"name": "torchattacks.PGD", "alpha": eps / 8, **shared}
    )
    gain = 100 * float(own.broken.float().mean() - theirs.broken.float().mean())
    assert -0.5 <= gain <= 1.5
    assert own.forwards.sum() < theirs.forwards.sum()


def test_the_library_is_asked_exactly_what_it_would_be_asked_directly() -> None:
    import torchattacks

    model, images, labels = trained()
    right = (model(images).argmax(dim=1) == labels).nonzero().squeeze(1)[:20]
    spec = {"name": "torchattacks.PGD", "eps": 0.1, "steps": 5, "alpha": 0.03}
    result = run_attack(model, images[right], labels[right], spec, seed=9)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(batch_seed(images[right], labels[right], 9))
        direct = torchattacks.PGD(model, eps=0.1, alpha=0.03, steps=5)(images[right], labels[right])
    assert torch.allclose(result.adversarial, direct, atol=2e-7)
    assert torch.equal(result.broken, model(direct).argmax(dim=1) != labels[right])
    # One gradient of one image is taken beforehand, to see that there is any.
    assert result.backwards.tolist() == [6] + 19 * [5]


class _Answer(Params):
    """What the stand-in shall return."""

    answer: str


class _Fake:
    """Stands in for a class of the library; returns what a test asks for."""

    def __init__(self, model: torch.nn.Module, answer: str = "clean") -> None:
        self.model, self.answer = model, answer

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        torch.manual_seed(0)
        images.mul_(1.0)
        if self.answer == "raise":
            raise IndexError("index 3 is out of bounds")
        return {
            "clean": images,
            "nan": torch.full_like(images, torch.nan),
            "box": images + 2.0,
            "ball": 1 - images,
            "short": images[:-1],
        }[self.answer]


@pytest.fixture
def fake_library(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("torchattacks")
    module.PGD = _Fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchattacks", module)


def _run(monkeypatch: pytest.MonkeyPatch, answer: str) -> tuple[Tensor, object]:
    model, images, labels = trained()
    labels = model(images).argmax(dim=1)
    monkeypatch.setattr(
        "engine.attacks.run.create", lambda spec: TorchattacksAttack("PGD", _Answer(answer=answer))
    )
    return images[:6], run_attack(model, images[:6], labels[:6], "torchattacks.PGD")


@pytest.mark.usefixtures("fake_library")
@pytest.mark.parametrize("answer", ["nan", "box", "ball"])
def test_invalid_examples_are_failures(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    images, result = _run(monkeypatch, answer)
    assert not result.broken.any()
    assert torch.equal(result.adversarial, images)
    assert result.notes[0].startswith("Attack failure on 6 images")


@pytest.mark.usefixtures("fake_library")
@pytest.mark.parametrize(("answer", "message"), [("raise", "index 3"), ("short", "one image per")])
def test_errors_of_the_library_are_explained(
    monkeypatch: pytest.MonkeyPatch, answer: str, message: str
) -> None:
    state = torch.get_rng_state()
    with pytest.raises(AttackError, match=message):
        _run(monkeypatch, answer)
    assert torch.equal(state, torch.get_rng_state())


def test_missing_library_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    model, images, labels = trained()
    with pytest.raises(AttackError) as caught:
        run_attack(model, images[:4], labels[:4], "torchattacks.PGD")
    assert "pip install --no-deps torchattacks==3.5.1" in caught.value.hint


@pytest.mark.parametrize("name", ["MIFGSM", "APGD", "FAB", "DeepFool", "EOTPGD", "CW"])
def test_other_classes_run_behind_the_same_guards(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    model, images, labels = trained()
    model.zero_grad()  # other libraries fill the gradients of the shared model
    params = catalog.find("attacks", f"torchattacks.{name}").params(steps=5)
    monkeypatch.setattr("engine.attacks.run.create", lambda spec: TorchattacksAttack(name, params))
    state = torch.get_rng_state()
    result = run_attack(
        model, images[:12], labels[:12], {"name": "torchattacks.PGD", "eps": 8 / 255}
    )
    assert torch.equal(state, torch.get_rng_state())
    assert (result.linf <= 8 / 255 * (1 + 1e-6)).all()
    attacked = result.broken_at_step != 0
    assert (result.forwards[attacked] > 2).all()
    assert (result.backwards[attacked] > 0).all()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_unknown_class() -> None:
    with pytest.raises(AttackError, match="no attack 'Nothing'"):
        TorchattacksAttack("Nothing", NoParams()).run(None, Pass())  # type: ignore[arg-type]
