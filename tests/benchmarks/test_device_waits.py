"""Launches and host waits of one step of each attack, counted on the simulated device.

Prints, and asserts nothing. A step is what a longer attack takes more than a shorter one, so the
start and the finish do not count; ``eps`` is so small that every image stays. torchattacks calls
itself, without our adapter, for comparison.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torchattacks
from torch import Tensor, nn

from engine import catalog, models
from engine.attacks import run_attack
from engine.data import load
from engine.specs.dataset import DatasetSpec
from tests.helpers.simulated_device import SimulatedDevice

Attack = Callable[[nn.Module, Tensor, Tensor, int], Any]
FEW, MANY = 16, 48


def _ours(name: str, length: str = "steps", **parameters: Any) -> Attack:
    def attack(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> None:
        spec = {"name": name, **parameters, length: steps}
        run_attack(model, images, labels, spec, precision="fp32")

    return attack


def _library(name: str, length: str = "steps", **parameters: Any) -> Attack:
    def attack(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> None:
        getattr(torchattacks, name)(model, **parameters, **{length: steps})(images, labels)

    return attack


TINY = 1e-4
ATTACKS: dict[str, Attack] = {
    "pgd": _ours("pgd", eps=TINY),
    "pgd-l2": _ours("pgd-l2", eps=TINY),
    "fb-pgd": _ours("fb-pgd", eps=TINY),
    "apgd-ce": _ours("apgd-ce", eps=TINY),
    "apgd-dlr": _ours("apgd-dlr", eps=TINY),
    "fab-t, 1 target": _ours("fab-t", eps=TINY, targets=1),
    "square": _ours("square", "n_queries", eps=TINY),
    "square L2": _ours("square", "n_queries", eps=TINY, norm="L2"),
    "ddn": _ours("ddn"),
    "fmn": _ours("fmn"),
    "torchattacks.PGD itself": _library("PGD", eps=TINY, alpha=TINY / 4),
    "torchattacks.PGDL2 itself": _library("PGDL2", eps=TINY, alpha=TINY / 4),
}


def _counted(attack: Attack, steps: int) -> tuple[int, Counter[tuple[str, str]]]:
    digits = load(DatasetSpec(name="digits", limit=12), 0)
    with SimulatedDevice() as gpu:
        model = models.load(catalog.model_card("digits-resnet-at")).to("cuda")
        images, labels = digits.images[:].to("cuda"), digits.labels[:].to("cuda")
        gpu.waits.clear()
        before = gpu.launches
        attack(model, images, labels, steps)
        return gpu.launches - before, gpu.waits


@pytest.mark.bench
@pytest.mark.parametrize("name", ATTACKS)
def test_launches_and_waits_of_a_step(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (few, early), (many, late) = _counted(ATTACKS[name], FEW), _counted(ATTACKS[name], MANY)
    late.subtract(early)
    steps = MANY - FEW
    where = [f"{line} {kind} {n / steps:.2f}" for (kind, line), n in late.most_common(4) if n > 0]
    with capsys.disabled():
        print(
            f"\n{name:26} {(many - few) / steps:6.1f} launches {late.total() / steps:6.2f} waits"
            f"   {'; '.join(where)}"
        )
