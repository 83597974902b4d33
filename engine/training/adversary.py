"""The inner maximisation of adversarial training, and the scores by which epochs are compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F

from engine.attacks.ball import linf_bounds


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and no parameter gradients inside; everything as before outside."""
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval().requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, needed in wanted:
            parameter.requires_grad_(needed)


def pgd_examples(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    eps: float,
    steps: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Sign-gradient ascent from a random start, the last iterate (Madry 2018, eq. 4).

    Args:
        model: images in [0,1] to logits; seen in eval mode with frozen parameters.
        images: (N, C, H, W) in [0,1].
        labels: (N,) int64.
        eps: radius of the Linf ball; the step is 2.5 eps / steps.
        steps: gradient steps.
        generator: draws the start, on the CPU.
    """
    low, high = linf_bounds(images, eps)
    noise = torch.rand(images.shape, generator=generator).to(images)
    x = low + (high - low) * noise
    with frozen(model):
        for _ in range(steps):
            x = x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), labels), x)
            # The clamp stays outside the graph: its gradient at the bounds differs by version.
            moved = x.detach() + 2.5 * eps / steps * gradient.sign()
            x = torch.minimum(torch.maximum(moved, low), high)
    return x.detach()


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images classified correctly, in eval mode."""
    with frozen(model), torch.no_grad():
        hits = (model(images).argmax(1) == labels).sum()
    return int(hits) / len(labels)
