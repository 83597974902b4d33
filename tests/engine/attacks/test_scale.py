"""The scale of the logits must not decide what an attack finds."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.attacks import run_attack
from engine.attacks.losses.logit_scale import LEAST, USUAL, factor_of, factors, span
from tests.helpers.attack_models import Wrapped, trained

ATTACKS: dict[str, dict[str, Any]] = {
    "pgd": {"eps": 0.06, "steps": 10},
    "pgd-l2": {"eps": 0.4, "steps": 10},
    "apgd-ce": {"eps": 0.06, "steps": 20},
    "fb-pgd": {"eps": 0.1, "steps": 20},
    "apgd-dlr": {"eps": 0.06, "steps": 20},
    "torchattacks.PGD": {"eps": 0.1, "alpha": 0.02, "steps": 10},
    "torchattacks.APGD": {"eps": 0.06, "steps": 20},
}


def scaled(factor: float) -> Wrapped:
    return Wrapped(trained()[0], after=lambda z: factor * z)


@cache
def broken(name: str, factor: float) -> int:
    _, images, labels = trained()
    attack = {"name": name, **ATTACKS[name]}
    return int(run_attack(scaled(factor), images[:200], labels[:200], attack).broken.sum())


@pytest.mark.parametrize("factor", [1e-6, 0.01, 0.1, 1000.0])
@pytest.mark.parametrize("name", ATTACKS)
def test_the_same_predictor_at_another_scale_breaks_as_often(name: str, factor: float) -> None:
    usual = broken(name, 1.0)
    assert 20 < usual < 190
    assert broken(name, factor) >= usual - 3


@pytest.mark.parametrize("name", ["pgd", "apgd-ce", "torchattacks.PGD"])
def test_without_the_factor_small_logits_protect(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "engine.attacks.search.search.factors", lambda spans: torch.ones_like(spans)
    )
    monkeypatch.setattr("engine.attacks.torchattacks.monitor.factor_of", lambda logits: 1.0)
    _, images, labels = trained()
    attack = {"name": name, **ATTACKS[name]}
    blind = run_attack(scaled(0.05), images[:200], labels[:200], attack)
    assert int(blind.broken.sum()) < broken(name, 1.0) - 3


def test_usual_logits_are_left_alone_and_others_scaled_by_powers_of_two() -> None:
    spans = torch.cat([torch.logspace(-6, 6, 400), torch.zeros(1)])
    found = factors(spans)
    usual = (spans >= LEAST) | (spans == 0)
    assert (found[usual] == 1).all()
    assert torch.equal(found.log2(), found.log2().round())
    after = (spans * found)[~usual]
    assert (after >= USUAL / 2).all()
    assert (after <= USUAL * 2).all()


def test_the_span_is_that_of_what_is_finite() -> None:
    logits = torch.tensor([[1.0, 3.0, -torch.inf], [torch.nan] * 3, [0.0, 0.0, 0.0]])
    assert span(logits).tolist() == [2.0, 0.0, 0.0]
    assert factor_of(logits[2:]) == 1.0
    assert factor_of(logits[:0]) == 1.0


@pytest.mark.parametrize("name", ["pgd", "apgd-ce"])
def test_each_image_has_a_scale_of_its_own(name: str) -> None:
    _, images, labels = trained()
    attack = {"name": name, **ATTACKS[name]}
    model = scaled(0.1)
    whole = run_attack(model, images[:20], labels[:20], attack)
    parts = [
        run_attack(model, *each, attack)
        for each in zip(images[:20].split(3), labels[:20].split(3), strict=True)
    ]
    assert torch.equal(torch.cat([part.broken for part in parts]), whole.broken)


def test_what_was_climbed_is_said() -> None:
    def notes(attack: str, factor: float) -> str:
        _, images, labels = trained()
        return " ".join(run_attack(scaled(factor), images[:5], labels[:5], attack).notes)

    assert "logits of a usual size" in notes("pgd", 0.01)
    assert "logits of a usual size" in notes("torchattacks.FGSM", 0.01)
    assert "usual size" not in notes("pgd", 1.0)
    assert "usual size" not in notes("apgd-dlr", 0.01)


def test_the_loss_that_is_told_is_that_of_the_model() -> None:
    _, images, labels = trained()
    model = scaled(0.01)
    result = run_attack(model, images[:20], labels[:20], {"name": "pgd", "eps": 0.02, "steps": 3})
    with torch.no_grad():
        right = model(images[:20]).argmax(dim=1) == labels[:20]
        clean: Tensor = torch.nn.functional.cross_entropy(
            model(images[:20])[right], labels[:20][right]
        )
    assert result.curve[0].loss == pytest.approx(float(clean), rel=1e-4)
    assert abs(result.curve[1].loss - float(clean)) < 0.2
