"""Our PGD beside the libraries', at identical settings, interleaved in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import foolbox
import pytest
import torch
import torchattacks
from torch import Tensor, nn

from engine import catalog, compression, models
from engine.attacks import run_attack
from engine.data import load
from engine.specs import DatasetSpec

REPEATS = 5
STEPS = 40


def _ours(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    variant = compression.apply(model, (), compression.Context())
    result = run_attack(
        variant.deployed(),
        images,
        labels,
        {"name": "pgd", "eps": eps, "steps": STEPS},
        view=variant.attack_view(),
    )
    return result.broken


def _torchattacks(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    attack = torchattacks.PGD(model, eps=eps, alpha=2.5 * eps / STEPS, steps=STEPS)
    with torch.random.fork_rng(devices=[]):
        found = attack(images, labels)
    with torch.no_grad():
        return model(found).argmax(dim=1) != labels


def _foolbox(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    attack = foolbox.attacks.LinfPGD(abs_stepsize=2.5 * eps / STEPS, steps=STEPS)
    with torch.random.fork_rng(devices=[]):
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
        return attack(wrapped, images, labels, epsilons=eps)[2]


RIVALS: dict[str, Callable[[nn.Module, Tensor, Tensor, float], Tensor]] = {
    "ours": _ours,
    "torchattacks": _torchattacks,
    "foolbox": _foolbox,
}


@pytest.mark.bench
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "eps"), [("digits-resnet-at", 0.2), ("digits-resnet", 0.15)])
def test_pgd_40(name: str, eps: float) -> None:
    """Median of interleaved repeats; the ratio says how many times longer a library takes."""
    torch.set_num_threads(1)
    model = models.load(catalog.model_card(name))
    test = load(DatasetSpec(name="digits"), seed=0)
    times: dict[str, list[float]] = {rival: [] for rival in RIVALS}
    robust = {}
    for _ in range(REPEATS):
        for rival, attack in RIVALS.items():
            begun = time.perf_counter()
            broken = attack(model, test.images, test.labels, eps)
            times[rival].append(time.perf_counter() - begun)
            robust[rival] = 1 - float(broken.float().mean())
    ours = statistics.median(times["ours"])
    print(f"\nPGD-{STEPS} on {name}, eps {eps}, {len(test)} images, {REPEATS} repeats")
    for rival in RIVALS:
        middle = statistics.median(times[rival])
        print(f"  {rival:13} {middle:6.2f} s  {middle / ours:5.2f}x  robust {robust[rival]:.1%}")
