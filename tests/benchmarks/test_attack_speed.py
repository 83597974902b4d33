"""Our PGD beside the libraries', at identical settings, interleaved in one process.

The memory of the process is left to the C library, as in a script that uses a library. Crumple's
engine keeps what is freed, which speeds the libraries up even more than our own passes, as they
ask for more of it. To give both sides the engine's setting::

    MALLOC_TRIM_THRESHOLD_=2147483647 MALLOC_MMAP_MAX_=0 make bench
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import foolbox
import pytest
import torch
import torchattacks
from torch import Tensor, nn

from engine.attacks import run_attack
from tests.benchmarks.networks import Case, case

REPEATS = 5
STEPS = 40
STRIDES = {"2.5 eps / 40": 2.5 / STEPS, "eps / 4": 1 / 4}
"""Length of a step in eps: Crumple's default, and that of torchattacks (2/255 at 8/255).

In short steps an image breaks late, so fewer gradients can be spared.
"""
BEYOND = 8.0
"""Times the eps that leaves half: where an undefended network is usually attacked. On a plain
CIFAR-10 ResNet-20, half survive below 0.5/255, and 8/255 is what papers ask."""


@dataclass(frozen=True)
class Setting:
    """PGD-40 on a network: radius and length of a step."""

    case: Case
    eps: float
    step_size: float


def _ours(at: Setting, precision: str = "fp32") -> Tensor:
    spec = {"name": "pgd", "eps": at.eps, "steps": STEPS, "step_size": at.step_size}
    case = at.case
    found = run_attack(
        case.deployed, case.images, case.labels, spec, view=case.view, precision=precision
    )
    return found.broken


def _ours_bf16(at: Setting) -> Tensor:
    return _ours(at, "bf16")


def _torchattacks(at: Setting) -> Tensor:
    case = at.case
    attack = torchattacks.PGD(case.model, eps=at.eps, alpha=at.step_size, steps=STEPS)
    with torch.random.fork_rng(devices=[]):
        found = attack(case.images, case.labels)
    with torch.no_grad():
        return case.model(found).argmax(dim=1) != case.labels


def _foolbox(at: Setting) -> Tensor:
    attack = foolbox.attacks.LinfPGD(abs_stepsize=at.step_size, steps=STEPS)
    with torch.random.fork_rng(devices=[]):
        wrapped = foolbox.PyTorchModel(at.case.model, bounds=(0, 1))
        return attack(wrapped, at.case.images, at.case.labels, epsilons=at.eps)[2]


RIVALS: dict[str, Callable[[Setting], Tensor]] = {
    "ours, fp32": _ours,
    "ours, bf16": _ours_bf16,
    "torchattacks": _torchattacks,
    "foolbox": _foolbox,
}


@pytest.mark.bench
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("beyond", "stride"), [(1.0, "2.5 eps / 40"), (1.0, "eps / 4"), (BEYOND, "2.5 eps / 40")]
)
@pytest.mark.parametrize("name", ["digits-resnet", "ResNet-18"])
def test_pgd_40(name: str, beyond: float, stride: str) -> None:
    """Median of interleaved repeats; the ratios say how many times longer a library takes."""
    torch.set_num_threads(2)
    network = case(name)
    eps = min(beyond * network.eps, 0.5)
    setting = Setting(network, eps, eps * STRIDES[stride])
    times: dict[str, list[float]] = {rival: [] for rival in RIVALS}
    robust = {}
    for _ in range(REPEATS):
        for rival, attack in RIVALS.items():
            begun = time.perf_counter()
            broken = attack(setting)
            times[rival].append(time.perf_counter() - begun)
            robust[rival] = 1 - float(broken.float().mean())
    middle = {rival: statistics.median(values) for rival, values in times.items()}
    print(
        f"\nPGD-{STEPS} on {name}, eps {eps:.3f}, steps of {stride}, "
        f"{len(network.labels)} images, {REPEATS} repeats"
    )
    for rival, seconds in middle.items():
        ratios = "  ".join(f"{seconds / middle[own]:5.2f}x {own}" for own in list(RIVALS)[:2])
        print(f"  {rival:13} {seconds:7.3f} s  {ratios}  robust {robust[rival]:.1%}")


class _Recorder(nn.Module):
    """Keeps the batches that a model was asked for."""

    def __init__(self, model: nn.Module, log: list[tuple[nn.Module, Tensor]]) -> None:
        super().__init__()
        self.model, self.log = model, log

    def forward(self, images: Tensor) -> Tensor:
        self.log.append((self.model, images.detach()))
        logits: Tensor = self.model(images)
        return logits


@pytest.mark.bench
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("attack", ["pgd", "apgd-ce"])
@pytest.mark.parametrize("beyond", [1.0, BEYOND], ids=["half survive", "undefended"])
@pytest.mark.parametrize("name", ["digits-resnet", "ResNet-18"])
def test_overhead(name: str, beyond: float, attack: str) -> None:
    """How much longer a run takes than the bare passes it had to make, on the same batches."""
    torch.set_num_threads(2)
    network = case(name)
    spec = {"name": attack, "eps": min(beyond * network.eps, 0.5), "steps": STEPS}
    log: list[tuple[nn.Module, Tensor]] = []
    run_attack(
        _Recorder(network.deployed, log),
        network.images,
        network.labels,
        spec,
        view=_Recorder(network.view, log),
        precision="fp32",
    )
    whole, bare = [], []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        run_attack(
            network.deployed,
            network.images,
            network.labels,
            spec,
            view=network.view,
            precision="fp32",
        )
        whole.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        for model, images in log:
            _pass(model, images, differentiate=model is network.view)
        bare.append(time.perf_counter() - begun)
    ratio = statistics.median(whole) / statistics.median(bare)
    print(
        f"\n{attack} on {name}, eps {spec['eps']:.3f}: {len(log)} passes, "
        f"{statistics.median(whole):.3f} s, {ratio:.3f}x the bare passes"
    )


def _pass(model: nn.Module, images: Tensor, *, differentiate: bool) -> None:
    if not differentiate:
        with torch.no_grad():
            model(images)
        return
    leaf = images.clone().requires_grad_()
    torch.autograd.grad(model(leaf).logsumexp(dim=1).sum(), leaf)
