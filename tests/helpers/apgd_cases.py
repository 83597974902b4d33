"""Affine cases for the attacks of AutoAttack."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.helpers.attack_models import Affine

BALLS = (((1, 4, 4), "Linf"), ((3, 8, 8), "Linf"), ((2, 5, 3), "Linf"), ((2, 5, 3), "L2"))


def affine_case(
    classes: int, shape: tuple[int, int, int], norm: str
) -> tuple[Affine, Tensor, Tensor, Tensor]:
    """Images so far from the box that it never cuts the ball; some labels are wrong."""
    model = Affine(classes, shape, seed=classes)
    images = torch.rand(200, *shape, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3
    labels = model(images).argmax(dim=1)
    labels[:10] = (labels[:10] + 1) % classes
    if norm == "Linf":
        return model, images, labels, model.radius(images, labels)
    weight = model.linear.weight.detach().double()
    logits = model(images).detach().double()
    gap = logits.gather(1, labels[:, None]) - logits
    length = (weight[labels][:, None] - weight[None]).norm(dim=2)
    radius = (gap / length).scatter(1, labels[:, None], torch.inf).amin(dim=1)
    return model, images, labels, radius


class Row(nn.Module):
    """The runner-up cannot be reached, and the way towards it leads away from the third."""

    def forward(self, images: Tensor) -> Tensor:
        grey = images.flatten(1).mean(dim=1)
        return torch.stack([grey * 0 + 1, 0.9 - 0.0001 * grey, grey * 3 - 1, grey - 9], dim=1)
