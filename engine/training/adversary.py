"""The inner maximisation of adversarial training, and the scores by which epochs are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from engine.attacks.geometry.ball import linf_bounds
from engine.attacks.search.straight_through import StraightThrough
from engine.errors import TrainingError
from engine.evaluation.model_call import ask
from engine.host.memory import memory_errors

Mode = Literal["eval", "train"]
"""Of the network while examples are searched."""

Start = Literal["in range", "as coded"]
"""Where a search begins: in ball and box, or in the ball alone."""


@contextmanager
def frozen(model: nn.Module, mode: Mode = "eval") -> Iterator[None]:
    """Eval mode and no parameter gradients inside; everything as before outside.

    With ``mode`` ``train`` every module stays as it is: BatchNorm then counts what passes.
    """
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.requires_grad_(False)
        if mode == "eval":
            model.eval()
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
    step_size: float | None = None,
    mode: Mode = "eval",
    start: Start = "in range",
) -> torch.Tensor:
    """Sign-gradient ascent from a random start, the last iterate (Madry 2018, eq. 4).

    ``in range`` starts uniformly in the part of the ball that lies in [0,1]. ``as coded``
    starts at x + U(-eps, eps), so the first gradient may be taken outside [0,1]; every step ends
    inside. So do the published codes of RAP-ADMM (Ye 2019), ARD (Goldblum 2020), and IAD-I,
    IAD-II and AKD2 in that of IAD (Zhu 2022). Both draw the same numbers.

    Args:
        model: images in [0,1] to logits; its parameters are frozen meanwhile.
        images: (N, C, H, W) in [0,1].
        labels: (N,) int64.
        eps: radius of the Linf ball.
        steps: gradient steps.
        generator: draws the start, on the CPU.
        step_size: length of a step; None is 2.5 eps / steps.
        mode: of the network meanwhile.
        start: see above.
    """
    low, high = linf_bounds(images, eps)
    noise = torch.rand(images.shape, generator=generator).to(images)
    least, most = (images - eps, images + eps) if start == "as coded" else (low, high)
    return ascend(
        model,
        least + (most - least) * noise,
        (low, high),
        lambda logits: F.cross_entropy(logits, labels),
        step_size or 2.5 * eps / steps,
        steps,
        mode,
    )


def divergence_examples(
    model: nn.Module,
    images: torch.Tensor,
    target: torch.Tensor,
    *,
    eps: float,
    steps: int,
    generator: torch.Generator,
    step_size: float | None = None,
    mode: Mode = "eval",
) -> torch.Tensor:
    """Sign-gradient ascent on KL(target || p(x~)) from x + 0.001 N(0,1).

    Noise is needed: where the target is the model's own prediction, the gradient at x is zero.

    Args:
        model: images in [0,1] to logits; its parameters are frozen meanwhile.
        images: (N, C, H, W) in [0,1].
        target: (N, K) log-probabilities, fixed.
        eps: radius of the Linf ball.
        steps: gradient steps.
        generator: draws the start, on the CPU.
        step_size: length of a step; None is 2.5 eps / steps.
        mode: of the network meanwhile.
    """
    noise = torch.randn(images.shape, generator=generator).to(images)
    return ascend(
        model,
        images + 0.001 * noise,
        linf_bounds(images, eps),
        lambda logits: F.kl_div(
            F.log_softmax(logits, dim=1), target, reduction="sum", log_target=True
        ),
        step_size or 2.5 * eps / steps,
        steps,
        mode,
    )


def trades_examples(
    model: nn.Module,
    images: torch.Tensor,
    *,
    eps: float,
    steps: int,
    generator: torch.Generator,
    step_size: float | None = None,
    mode: Mode = "eval",
) -> torch.Tensor:
    """``divergence_examples`` from the model's own clean predictions (Zhang 2019, section 3)."""
    with frozen(model, mode), torch.no_grad():
        clean = F.log_softmax(ask(model, images), dim=1)
    return divergence_examples(
        model,
        images,
        clean,
        eps=eps,
        steps=steps,
        generator=generator,
        step_size=step_size,
        mode=mode,
    )


def ascend(
    model: nn.Module,
    x: torch.Tensor,
    ball: tuple[torch.Tensor, torch.Tensor],
    loss: Callable[[torch.Tensor], torch.Tensor],
    step: float,
    steps: int,
    mode: Mode = "eval",
) -> torch.Tensor:
    """Sign-gradient ascent on a loss of the logits, projected onto a ball; the last iterate.

    Where the network itself has no gradient at the first point, its straight-through twin is
    climbed.

    Raises:
        TrainingError: the twin has none either.
    """
    low, high = ball
    # Cached: no weight changes meanwhile, so what acts on weights acts once for all steps.
    with frozen(model, mode), parametrize.cached():
        for number in range(steps):
            x = x.detach().requires_grad_(True)
            gradient = _slope(model, x, loss)
            if number == 0 and (gradient is None or not gradient.any()):
                model = StraightThrough(model)
                gradient = _through(model, x, loss)
            if gradient is None:
                raise TrainingError(
                    "The output of the network has no gradient with respect to its images, so "
                    "no adversarial example can be searched.",
                    "Train with 'standard', or give the network a differentiable path.",
                )
            # The clamp stays outside the graph: its gradient at the bounds differs by version.
            moved = x.detach() + step * gradient.sign()
            x = torch.minimum(torch.maximum(moved, low), high)
    return x.detach()


def _through(
    twin: nn.Module, x: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor | None:
    """The gradient of a twin; None also if the network cannot be run inside of one."""
    try:
        with memory_errors():
            return _slope(twin, x, loss)
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except (RuntimeError, TypeError, ValueError):
        return None


def _slope(
    model: nn.Module, x: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor | None:
    """The gradient of the loss at x; None if the loss does not depend on x."""
    value = loss(ask(model, x))
    if not value.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(value, x, allow_unused=True)
    return gradient


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images classified correctly, in eval mode."""
    with frozen(model), torch.no_grad():
        hits = (ask(model, images).argmax(1) == labels).sum()
    return int(hits) / len(labels)
