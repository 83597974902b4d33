"""What stands in front of a network and ships with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from engine.compression.parts.base import FrontPart

Compute = Callable[[torch.Tensor], torch.Tensor]


class Fronted(nn.Module):
    """A network behind a part that images pass first; the network may be one of these, too.

    Args:
        front: (N, C, H, W) images to images.
        model: (N, C, H, W) images to (N, K) logits.
    """

    def __init__(self, front: nn.Module, model: nn.Module) -> None:
        super().__init__()
        self.front, self.model = front, model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) in [0,1] to (N, K) logits."""
        logits: torch.Tensor = self.model(self.front(images))
        return logits


def fronts(model: nn.Module) -> Iterator[FrontPart]:
    """The parts in front of a network, in the order in which images pass them."""
    while isinstance(model, Fronted):
        if isinstance(model.front, FrontPart):
            yield model.front
        model = model.model


def behind(model: nn.Module) -> nn.Module:
    """The network itself."""
    while isinstance(model, Fronted):
        model = model.model
    return model


def make_naive(model: nn.Module) -> None:
    """Put in place of each front what somebody searches who does not adapt to it; in place."""
    while isinstance(model, Fronted):
        if isinstance(model.front, FrontPart):
            model.front = model.front.naive()
        model = model.model


class _Passed(torch.autograd.Function):
    """A transformation with the gradient of another one: a factor for each pixel.

    The transformation is computed in here, where nothing is recorded, not even by the twins of
    ``engine.attacks.search.straight_through``, which look through ``no_grad``.
    """

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, compute: Compute, slope: float) -> torch.Tensor:
        ctx.slope = slope
        return compute(images)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradients[0] * ctx.slope, None, None


def straight_through(images: torch.Tensor, compute: Compute) -> torch.Tensor:
    """New images computed from these, with the gradient of the identity."""
    passed: torch.Tensor = _Passed.apply(images, compute, 1.0)
    return passed


class AsItIs(nn.Module):
    """A transformation of steps as it is differentiated: constant almost everywhere.

    Args:
        inner: images to images.
    """

    def __init__(self, inner: FrontPart) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The same values; their gradient is 0."""
        flat: torch.Tensor = _Passed.apply(images, self.inner, 0.0)
        return flat
