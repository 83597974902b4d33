"""Classifiers whose robustness is known, and broken ones, for the tests of attacks."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from tests.helpers import trained_nets


def covers(seen: list[int], counted: int) -> bool:
    """Whether batches of these sizes hold the counted passes, and little to fill them up."""
    return counted <= sum(seen) <= 1.3 * counted


class Affine(nn.Module):
    """z = W x + b; its robust accuracy in an Linf ball has a closed form."""

    def __init__(self, classes: int, shape: tuple[int, int, int], seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        size = shape[0] * shape[1] * shape[2]
        self.linear = nn.Linear(size, classes)
        with torch.no_grad():
            weight = torch.randn(classes, size, generator=generator)
            self.linear.weight.copy_(weight)
            # Balanced at the middle grey, so that every class is predicted somewhere.
            self.linear.bias.copy_(-weight.sum(dim=1) / 2)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.linear(images.flatten(1))
        return result

    def radius(self, images: Tensor, labels: Tensor) -> Tensor:
        """Smallest Linf distance to a mistake: min over i of (z_y - z_i) / ||w_y - w_i||_1."""
        weight = self.linear.weight.detach().double()
        bias = self.linear.bias.detach().double()
        logits = images.double().flatten(1) @ weight.T + bias
        gap = logits.gather(1, labels[:, None]) - logits
        length = (weight[labels][:, None] - weight[None]).abs().sum(dim=2)
        ratio = (gap / length).scatter(1, labels[:, None], torch.inf)
        return ratio.amin(dim=1)


class Wrapped(nn.Module):
    """A model with a function applied to its output, or to its input before it."""

    def __init__(self, model: nn.Module, after: Any = None, before: Any = None) -> None:
        super().__init__()
        self.model, self.after, self.before = model, after, before

    def forward(self, images: Tensor) -> Tensor:
        images = images if self.before is None else self.before(images)
        logits: Tensor = self.model(images)
        return logits if self.after is None else self.after(logits)


class _StraightThroughRound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.round()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class Rounded(nn.Module):
    """Activations on 15 levels; differentiable only with the straight-through estimator."""

    def __init__(self, straight_through: bool) -> None:
        super().__init__()
        self.straight_through = straight_through

    def forward(self, values: Tensor) -> Tensor:
        scaled = values * 7
        if self.straight_through:
            result: Tensor = _StraightThroughRound.apply(scaled)
            return result / 7
        return scaled.round() / 7


def small_net() -> nn.Sequential:
    """A conv net with batch norm and dropout for 8x8 digits."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(512, 10),
    )


def digits() -> tuple[Tensor, Tensor]:
    """All 1797 digits, (N, 1, 8, 8) in [0, 1], and their labels."""
    raw = load_digits()
    images = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1) / 16
    return images, torch.tensor(raw.target, dtype=torch.int64)


@cache
def trained() -> tuple[nn.Sequential, Tensor, Tensor]:
    """A net trained on noisy digits, and 400 test images with labels."""
    images, labels = digits()
    net = small_net()
    trained_nets.load("small-net", net)
    return net, images[1397:], labels[1397:]
