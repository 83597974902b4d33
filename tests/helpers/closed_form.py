"""Affine classifiers, whose robustness has a closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.attacks import run_attack
from tests.helpers.attack_models import Affine, Wrapped

SHAPES = ((1, 8, 8), (3, 4, 6), (2, 5, 7))


SHARP, RESTARTS = 1000.0, {"restarts": 8}


Case = tuple[Affine, Tensor, Tensor, Tensor]


def distances(model: Affine, images: Tensor, labels: Tensor, norm: str) -> Tensor:
    """(N) exact distance to the nearest mistake in the box [0, 1]; inf if there is none.

    Towards one class the best point at size t is clip(x + t sign(w)) in Linf and, by the
    optimality conditions, clip(x + t w) in L2; the gain w . delta grows with t, so t is bisected.
    """
    weight, bias = (each.detach().double() for each in model.linear.parameters())
    exact = images.double().flatten(1)[:, None]
    logits = exact @ weight.T + bias
    gap = logits[:, 0].gather(1, labels[:, None]) - logits[:, 0]
    slope = weight[None] - weight[labels][:, None]
    way = slope.sign() if norm == "Linf" else slope
    low = torch.zeros(*gap.shape, 1, dtype=torch.float64)
    high = torch.full_like(low, 1.0 if norm == "Linf" else 1e4)

    def move(size: Tensor) -> Tensor:
        return (exact + size * way).clamp(0, 1) - exact

    for _ in range(80):
        middle = (low + high) / 2
        enough = (move(middle) * slope).sum(dim=2, keepdim=True) >= gap[..., None]
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    delta = move(high)
    length = delta.abs().amax(dim=2) if norm == "Linf" else delta.norm(dim=2)
    reached = (delta * slope).sum(dim=2) >= gap - 1e-9
    length = torch.where(reached & (gap > 0), length, torch.where(gap > 0, torch.inf, 0.0))
    return length.scatter(1, labels[:, None], torch.inf).amin(dim=1)


def affine(classes: int, shape: tuple[int, int, int], norm: str, *, box: bool) -> Case:
    """200 images, five of them with a wrong label, and their distances.

    With ``box`` half of the pixels lie at 0 or 1, as in drawings; else the box is far away.
    """
    model = Affine(classes, shape, seed=classes)
    images = torch.rand(200, *shape, generator=torch.Generator().manual_seed(1))
    if box:
        images[images < 0.3], images[images > 0.8] = 0.0, 1.0
    else:
        images = images * 0.4 + 0.3
    labels = model(images).argmax(dim=1)
    labels[:5] = (labels[:5] + 1) % classes
    return model, images, labels, distances(model, images, labels, norm)


def check(attack: dict[str, Any], case: Case, share: float, *, scale: float, misses: int) -> None:
    """No image is broken that cannot be; of those that can be at most so many are missed."""
    model, images, labels, distance = case
    eps = float(distance[(distance > 0) & distance.isfinite()].quantile(share))
    loud = Wrapped(model, after=lambda logits: logits * scale)
    broken = run_attack(loud, images, labels, {"eps": eps, **attack}).broken
    assert not broken[distance > eps * (1 + 1e-4)].any()
    missed = (distance < eps * (1 - 1e-4)) & ~broken
    assert int(missed.sum()) <= misses, (
        f"{attack}: {int(missed.sum())} of {len(missed)} missed at {eps}"
    )
