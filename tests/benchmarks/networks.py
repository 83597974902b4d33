"""What the benchmarks of attacks run on: a small network and one of the size of ResNet-18."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from engine import catalog, compression, models
from engine.attacks import run_attack
from engine.data import load, training_images
from engine.specs.dataset import DatasetSpec

IMAGES = {"digits-resnet": 500, "ResNet-18": 100}


@dataclass(frozen=True)
class Case:
    """A network with the first test images, clean mistakes among them.

    Attributes:
        model: as its owner has it; what the libraries attack.
        deployed, view: as Crumple attacks it.
        eps: at which PGD-40 leaves about half of the images unbroken.
    """

    name: str
    model: nn.Module
    deployed: nn.Module
    view: nn.Module
    images: Tensor
    labels: Tensor
    eps: float


@cache
def case(name: str) -> Case:
    """``digits-resnet`` (bundled, 8x8) or ``ResNet-18`` (CIFAR form, trained here for a minute)."""
    small = name == "digits-resnet"
    model = models.load(catalog.model_card(name)) if small else _resnet()
    test = load(DatasetSpec(name="digits"), seed=0)
    rows = slice(0, IMAGES[name])
    images = test.images[rows] if small else _enlarged(test.images[rows])
    labels = test.labels[rows]
    variant = compression.apply(model, (), compression.Context())
    parts = variant.deployed(), variant.attack_view()
    return Case(name, model, *parts, images, labels, _half(parts, images, labels))


def _resnet() -> nn.Module:
    """ResNet-18 for 32x32 images, two short epochs on enlarged digits."""
    torch.manual_seed(0)
    net = models.build("resnet-18", (3, 32, 32), 10)
    train = training_images("digits")
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-4)
    for _ in range(2):
        for rows in torch.randperm(len(train.labels))[:768].split(32):
            loss = nn.functional.cross_entropy(
                net(_enlarged(train.images[rows])), train.labels[rows]
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return net.eval()


def _enlarged(images: Tensor) -> Tensor:
    large = nn.functional.interpolate(images, size=(32, 32), mode="bilinear")
    return large.clamp(0, 1).expand(-1, 3, -1, -1).contiguous()


def _half(parts: tuple[nn.Module, nn.Module], images: Tensor, labels: Tensor) -> float:
    """Bisect for the eps at which about half of the images survive PGD-40."""
    low, high = 0.0, 0.5
    for _ in range(12):
        eps = (low + high) / 2
        spec = {"name": "pgd", "eps": eps, "steps": 40}
        share = 1 - float(
            run_attack(parts[0], images, labels, spec, view=parts[1]).broken.float().mean()
        )
        if 0.45 <= share <= 0.55:
            break
        low, high = (eps, high) if share > 0.5 else (low, eps)
    return eps
