"""Square, AutoAttack and PGD beside the reference implementations, on the bundled models.

Prints robust accuracies and seconds; ours must not be weaker by more than 0.6 points.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import foolbox
import pytest
import torch
from pyautoattack import AutoAttack
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from engine import catalog, models
from engine.attacks import run_attack
from engine.attacks.geometry.ball import Threat
from engine.data import load
from engine.specs.dataset import DatasetSpec

RADII = {
    ("digits-resnet", "Linf"): 0.05,
    ("digits-resnet", "L2"): 0.3,
    ("digits-resnet-at", "Linf"): 0.15,
    ("digits-resnet-at", "L2"): 0.8,
}

Reference = Callable[[nn.Module, Tensor, Tensor], Tensor]


def _beside(
    name: str, norm: str, spec: dict[str, Any], reference: Callable[[str, float], Reference]
) -> tuple[float, float]:
    """Robust accuracies of ours and of a reference on 500 images, printed with seconds."""
    model = models.load(catalog.model_card(name)).eval()
    test = load(DatasetSpec(name="digits"), seed=0)
    images, labels, eps = test.images[:500], test.labels[:500], RADII[name, norm]
    start = time.perf_counter()
    result = run_attack(model, images, labels, {"eps": eps, **spec})
    middle = time.perf_counter()
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        found = reference(norm, eps)(model, images.clone(), labels.clone()).detach()
    end = time.perf_counter()
    # The reference cuts an L2 perturbation in float32, a little loosely.
    inside = Threat(norm, eps * (1 + 1e-5)).holds(images, found)
    with torch.no_grad():
        clean, wrong = (model(points).argmax(dim=1) != labels for points in (images, found))
    theirs = 1 - float(((wrong & inside) | clean).float().mean())
    ours = 1 - float(result.broken.float().mean())
    print(
        f"\n{spec['name']:10} {name:17} {norm:4} {eps:<5} n={len(images)}"
        f"  ours {ours:7.2%} in {middle - start:5.1f} s"
        f"  reference {theirs:7.2%} in {end - middle:5.1f} s  {' '.join(result.notes)}"
    )
    return ours, theirs


def _square(norm: str, eps: float) -> Reference:
    def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        attack = SquareAttack(
            model, norm=norm, n_queries=5000, eps=eps, seed=0, resc_schedule=False, device="cpu"
        )
        found: Tensor = attack.perturb(images, labels)
        return found

    return run


def _autoattack(norm: str, eps: float) -> Reference:
    def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        attack = AutoAttack(model, eps=eps, norm=norm, seed=0, device="cpu")
        found: Tensor = attack.run_standard_evaluation(images, labels, batch_size=500)[0]
        return found

    return run


def _foolbox(norm: str, eps: float) -> Reference:
    def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
        kinds = {"Linf": foolbox.attacks.LinfPGD, "L2": foolbox.attacks.L2PGD}
        attack = kinds[norm](random_start=False)
        found: Tensor = attack(wrapped, images, labels, epsilons=eps)[1]
        return found

    return run


pytestmark = [
    pytest.mark.bench,
    pytest.mark.timeout(3000),
    pytest.mark.parametrize("name", ["digits-resnet", "digits-resnet-at"]),
]


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_square_is_not_weaker_than_the_reference(name: str, norm: str) -> None:
    ours, theirs = _beside(name, norm, {"name": "square", "norm": norm}, _square)
    assert ours <= theirs + 0.006


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_autoattack_is_not_weaker_than_the_reference(name: str, norm: str) -> None:
    ours, theirs = _beside(name, norm, {"name": "autoattack", "norm": norm}, _autoattack)
    assert ours <= theirs + 0.006


def test_foolbox_pgd_agrees(name: str) -> None:
    # From the clean image: the luck of random starts alone is worth 1 to 4 points here.
    ours, theirs = _beside(name, "Linf", {"name": "fb-pgd", "random_start": False}, _foolbox)
    assert abs(ours - theirs) <= 0.006


def test_pgd_l2_is_not_weaker_than_foolbox(name: str) -> None:
    step_size = 0.025 * RADII[name, "L2"]
    spec = {"name": "pgd-l2", "steps": 50, "step_size": step_size, "random_start": False}
    ours, theirs = _beside(name, "L2", spec, _foolbox)
    assert ours <= theirs + 0.006
