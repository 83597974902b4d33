"""Cases in L2 where the nearest example is known."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.helpers.attack_models import Affine

SHAPES = ((1, 4, 6), (3, 5, 7))


def radius(model: Affine, images: Tensor, labels: Tensor, *, nearest: bool = True) -> Tensor:
    """L2 distance to the nearest mistake, or to the runner-up class: gap / ||w_y - w_i||_2."""
    weight, bias = model.linear.weight.detach().double(), model.linear.bias.detach().double()
    logits = images.double().flatten(1) @ weight.T + bias
    gap = logits.gather(1, labels[:, None]) - logits
    ratio = gap / (weight[labels][:, None] - weight[None]).norm(dim=2)
    ratio = ratio.scatter(1, labels[:, None], torch.inf)
    rival = logits.scatter(1, labels[:, None], -torch.inf).argmax(dim=1, keepdim=True)
    return ratio.amin(dim=1) if nearest else ratio.gather(1, rival).squeeze(1)


def case(classes: int, shape: tuple[int, int, int]) -> tuple[Affine, Tensor, Tensor, float]:
    """Images so far from the box that it never cuts the ball; some labels are wrong."""
    model = Affine(classes, shape, seed=classes)
    images = torch.rand(200, *shape, generator=torch.Generator().manual_seed(1)) * 0.2 + 0.4
    labels = model(images).argmax(dim=1)
    labels[:10] = (labels[:10] + 1) % classes
    distance = radius(model, images, labels)
    return model, images, labels, float(distance[distance > 0].median())
