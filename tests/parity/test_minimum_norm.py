"""Minimum-norm attacks beside Foolbox at the same settings, and beside attacks in a ball."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import catalog, models
from engine.attacks import run_attack
from engine.data import load
from engine.specs.dataset import DatasetSpec
from engine.statistics.security_curves import security_curve

pytestmark = pytest.mark.bench

COUNT = 500
PAIRS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"name": "ddn"}, "DDNAttack", {}),
    ({"name": "fmn"}, "L2FMNAttack", {}),
    ({"name": "fmn", "norm": "Linf"}, "LInfFMNAttack", {}),
    ({"name": "deepfool"}, "L2DeepFoolAttack", {}),
    ({"name": "deepfool", "norm": "Linf"}, "LinfDeepFoolAttack", {}),
    (
        {"name": "cw-l2", "steps": 200, "step_size": 0.05},
        "L2CarliniWagnerAttack",
        {"steps": 200, "stepsize": 0.05},
    ),
]


def _load(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    test = load(DatasetSpec(name="digits"), seed=0)
    model = models.load(catalog.model_card(name)).eval()
    return model, test.images[:COUNT], test.labels[:COUNT]


def _theirs(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Any, norm: str, foolbox: Any
) -> Tensor:
    """Distances of the library's examples, by our rules: 0 clean mistakes, inf failures."""
    classifier = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
    points, _, _ = attack(classifier, images, labels, epsilons=None)
    delta = (points - images).flatten(1)
    length = delta.abs().amax(dim=1) if norm == "Linf" else delta.norm(dim=1)
    with torch.no_grad():
        broken = model(points).argmax(dim=1) != labels
        clean = model(images).argmax(dim=1) != labels
    return torch.where(broken, length, torch.inf).masked_fill(clean, 0.0)


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", ["digits-resnet", "digits-resnet-at"])
@pytest.mark.parametrize(("own", "their_class", "options"), PAIRS)
def test_our_examples_are_as_close_as_those_of_foolbox(
    own: dict[str, Any],
    their_class: str,
    options: dict[str, Any],
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    foolbox = pytest.importorskip("foolbox")
    model, images, labels = _load(name)
    result = run_attack(model, images, labels, own)
    attack = getattr(foolbox.attacks, their_class)(**options)
    theirs = _theirs(model, images, labels, attack, result.norm, foolbox)
    ours = result.distance
    with capsys.disabled():
        print(
            f"\n{name} {own}: median {ours.median():.4f}, Foolbox {theirs.median():.4f}, "
            f"ratio {ours.median() / theirs.median():.4f}; without an example "
            f"{int(ours.isinf().sum())}, Foolbox {int(theirs.isinf().sum())}; "
            f"forwards per image {result.forwards.double().mean():.0f}"
        )
    assert ours.median() <= 1.02 * theirs.median()
    assert ours.isinf().sum() <= theirs.isinf().sum()


@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    "name",
    [
        "digits-resnet",
        pytest.param(
            "digits-resnet-at",
            marks=pytest.mark.xfail(
                strict=True,
                reason="FMN overestimates the distances beyond eps 0.15 (.64, APGD .465)",
            ),
        ),
    ],
)
def test_the_curve_from_distances_agrees_with_an_attack_at_each_eps(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model, images, labels = _load(name)
    grid = [0.05, 0.1, 0.15, 0.2]
    fmn = run_attack(model, images, labels, {"name": "fmn", "norm": "Linf", "steps": 300})
    curve = security_curve(fmn.distance.numpy(), grid)
    for eps, share in zip(grid, curve.robust_accuracy, strict=True):
        ball = run_attack(model, images, labels, {"name": "apgd-ce", "eps": eps})
        robust = 1 - float(ball.broken.double().mean())
        with capsys.disabled():
            print(f"\n{name} eps {eps}: FMN curve {share:.3f}, APGD-CE {robust:.3f}")
        assert abs(share - robust) <= 0.05
