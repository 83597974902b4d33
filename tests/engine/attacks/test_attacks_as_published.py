"""The forms of minimum-norm attacks as their papers have them, beside Foolbox; and the tighter."""

from __future__ import annotations

from typing import Any

import foolbox
import pytest
from torch import Tensor, nn

from engine.attacks import run_attack
from engine.catalog import find
from engine.specs.choices import make_attack
from tests.helpers.attack_models import trained

COUNT = 60
PLAIN = {"form": "as published"}
CW = {"steps": 60, "step_size": 0.05, "binary_search_steps": 4, "initial_const": 0.1}


class L2FMN(foolbox.attacks.L2FMNAttack):  # type: ignore[misc]
    """With the projection that the library forgets: it divides a length by itself."""

    def project(self, x: Any, x0: Any, epsilon: Any) -> Any:
        delta = (x - x0).raw
        length = delta.flatten(1).norm(dim=1).clamp(min=1e-12)
        factor = (epsilon.raw / length).clamp(max=1)
        return x0 + type(x)(delta * factor.view(-1, 1, 1, 1))


CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "ddn": ({"name": "ddn"}, foolbox.attacks.DDNAttack()),
    "fmn L2": ({"name": "fmn"}, L2FMN()),
    "fmn Linf": ({"name": "fmn", "norm": "Linf"}, foolbox.attacks.LInfFMNAttack()),
    "cw-l2": (
        {"name": "cw-l2", **CW, "abort_early": False},
        foolbox.attacks.L2CarliniWagnerAttack(
            binary_search_steps=4, steps=60, stepsize=0.05, initial_const=0.1, abort_early=False
        ),
    ),
}


@pytest.fixture(scope="module")
def case() -> tuple[nn.Module, Tensor, Tensor]:
    """A trained network, and images that it classifies."""
    model, images, labels = trained()
    right = model(images).argmax(dim=1) == labels
    return model, images[right][:COUNT], labels[right][:COUNT]


def lengths(images: Tensor, points: Tensor, norm: str) -> Tensor:
    delta = (points - images).flatten(1).double()
    return delta.abs().amax(dim=1) if norm == "Linf" else delta.norm(dim=1)


@pytest.mark.parametrize("name", CASES)
def test_as_published_gives_the_distances_of_foolbox(
    name: str, case: tuple[nn.Module, Tensor, Tensor]
) -> None:
    model, images, labels = case
    attack, theirs = CASES[name]
    ours = run_attack(model, images, labels, {**attack, **PLAIN})
    classifier = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    points, _, _ = theirs(classifier, images, labels, epsilons=None)
    broken = model(points).argmax(dim=1) != labels
    assert broken.sum() > 0.5 * COUNT
    # The library looks at no point behind the last step.
    assert (ours.broken | ~broken).all()
    assert (ours.broken & ~broken).sum() <= 2
    ratio = ours.distance[broken].double() / lengths(images, points, ours.norm)[broken]
    assert float(ratio.median()) == pytest.approx(1, abs=2e-3)
    assert float(ratio.log().abs().quantile(0.9)) < 0.03


@pytest.mark.parametrize("name", CASES)
def test_tightened_examples_lie_closer_and_say_so(
    name: str, case: tuple[nn.Module, Tensor, Tensor]
) -> None:
    model, images, labels = case
    attack, _ = CASES[name]
    plain, tight = (run_attack(model, images, labels, {**attack, **form}) for form in (PLAIN, {}))
    assert tight.broken.all()
    found = plain.broken
    assert tight.distance[found].mean() < plain.distance[found].mean()
    assert (tight.distance[found] <= 1.001 * plain.distance[found]).double().mean() > 0.8
    assert plain.forwards.double().mean() < tight.forwards.double().mean()
    labels_ = [make_attack({**attack, **form}).label for form in (PLAIN, {})]
    assert labels_[0] == f"{labels_[1]} as published"
    assert "harder than its paper" in find("attacks", attack["name"]).limits
