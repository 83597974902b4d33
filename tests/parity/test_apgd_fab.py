"""APGD and FAB beside the reference AutoAttack, at its settings, on the bundled models.

Prints robust accuracies and seconds; ours must not be weaker by more than 0.6 points in the mean
over some seeds: the random starts alone move a single run of either side by more than that.
"""

from __future__ import annotations

import time
import warnings
from statistics import mean

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor, nn

from engine import catalog, models
from engine.attacks import run_attack
from engine.attacks.geometry.ball import Threat
from engine.data import load
from engine.specs.dataset import DatasetSpec

RADII = {
    ("digits-resnet", "Linf"): 0.08,
    ("digits-resnet", "L2"): 0.3,
    ("digits-resnet-at", "Linf"): 0.15,
    ("digits-resnet-at", "L2"): 0.8,
}

SEEDS = {"apgd-ce": 15, "apgd-dlr": 15, "apgd-t": 5, "fab-t": 1}


def _reference(
    name: str, model: nn.Module, images: Tensor, labels: Tensor, norm: str, eps: float, seed: int
) -> float:
    """Robust accuracy of the reference implementation, judged by our rules."""
    shared = {"norm": norm, "eps": eps, "seed": seed, "device": "cpu"}
    attack = {
        "apgd-ce": lambda: APGDAttack(model, loss="ce", **shared),
        "apgd-dlr": lambda: APGDAttack(model, loss="dlr", **shared),
        "apgd-t": lambda: APGDAttack_targeted(model, **shared),
        "fab-t": lambda: FABAttack_PT(model, targeted=True, **shared),
    }[name]()
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        found = attack.perturb(images.clone(), labels.clone()).detach()
    # The reference clips an L2 perturbation in float32, a little loosely.
    inside = Threat(norm, eps * (1 + 1e-5)).holds(images, found)
    clean = (model(images).argmax(dim=1) != labels).detach()
    return 1 - float((((model(found).argmax(dim=1) != labels) & inside) | clean).float().mean())


@pytest.mark.bench
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("name", ["digits-resnet", "digits-resnet-at"])
@pytest.mark.parametrize("attack", ["apgd-ce", "apgd-dlr", "apgd-t", "fab-t"])
def test_not_weaker_than_the_reference(attack: str, name: str, norm: str) -> None:
    model = models.load(catalog.model_card(name)).eval()
    test = load(DatasetSpec(name="digits"), seed=0)
    images, labels = test.images[:500], test.labels[:500]
    eps = RADII[name, norm]
    spec = {"name": attack, "eps": eps, "norm": norm}
    seeds = range(SEEDS[attack])
    start = time.perf_counter()
    broken = [run_attack(model, images, labels, spec, seed=seed).broken for seed in seeds]
    middle = time.perf_counter()
    theirs = [_reference(attack, model, images, labels, norm, eps, seed) for seed in seeds]
    end = time.perf_counter()
    ours = [1 - float(each.float().mean()) for each in broken]
    print(
        f"\n{attack:9} {name:17} {norm:4} {eps:<5} n={len(images)} seeds={len(seeds)}"
        f"  ours {mean(ours):7.2%} in {middle - start:5.1f} s"
        f"  reference {mean(theirs):7.2%} in {end - middle:5.1f} s"
    )
    assert mean(ours) <= mean(theirs) + 0.006
