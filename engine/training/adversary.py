"""The inner maximisation of adversarial training, and the scores by which epochs are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    return _ascend(
        model,
        low + (high - low) * noise,
        (low, high),
        lambda logits: F.cross_entropy(logits, labels),
        2.5 * eps / steps,
        steps,
    )


def trades_examples(
    model: nn.Module,
    images: torch.Tensor,
    *,
    eps: float,
    steps: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Sign-gradient ascent on KL(p(x) || p(x~)) from x + 0.001 N(0,1) (Zhang 2019, section 3).

    The clean predictions stay fixed. Noise is needed: at x itself the gradient is zero.

    Args:
        model: images in [0,1] to logits; seen in eval mode with frozen parameters.
        images: (N, C, H, W) in [0,1].
        eps: radius of the Linf ball; the step is 2.5 eps / steps.
        steps: gradient steps.
        generator: draws the start, on the CPU.
    """
    with frozen(model), torch.no_grad():
        clean = F.log_softmax(model(images), dim=1)
    noise = torch.randn(images.shape, generator=generator).to(images)
    return _ascend(
        model,
        images + 0.001 * noise,
        linf_bounds(images, eps),
        lambda logits: F.kl_div(
            F.log_softmax(logits, dim=1), clean, reduction="sum", log_target=True
        ),
        2.5 * eps / steps,
        steps,
    )


def _ascend(
    model: nn.Module,
    x: torch.Tensor,
    ball: tuple[torch.Tensor, torch.Tensor],
    loss: Callable[[torch.Tensor], torch.Tensor],
    step: float,
    steps: int,
) -> torch.Tensor:
    low, high = ball
    with frozen(model):
        for _ in range(steps):
            x = x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(loss(model(x)), x)
            # The clamp stays outside the graph: its gradient at the bounds differs by version.
            moved = x.detach() + step * gradient.sign()
            x = torch.minimum(torch.maximum(moved, low), high)
    return x.detach()


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images classified correctly, in eval mode."""
    with frozen(model), torch.no_grad():
        hits = (model(images).argmax(1) == labels).sum()
    return int(hits) / len(labels)
