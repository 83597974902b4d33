"""Rounding with a straight-through gradient (Bengio 2013, arXiv 1308.3432)."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import FunctionCtx


class _Quantise(torch.autograd.Function):
    """An own Function, because the gradient of ``torch.clamp`` at its bounds has changed."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: torch.Tensor, scale: torch.Tensor, low: int, high: int
    ) -> torch.Tensor:
        ctx.save_for_backward((x >= low * scale) & (x <= high * scale))
        return codes(x, scale, low, high) * scale

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return torch.where(inside, gradients[0], torch.zeros_like(gradients[0])), None, None, None


def codes(x: torch.Tensor, scale: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """The nearest integers to x / scale within [low, high], as floats; ties go to even."""
    return torch.round(x / scale).clamp(low, high)


def quantise(x: torch.Tensor, scale: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """Round to multiples of a scale; forward exact, backward straight through.

    Args:
        x: any shape.
        scale: distance of two levels, > 0; broadcasts against x. Gets no gradient.
        low: smallest code.
        high: largest code.

    Returns:
        ``codes(x) * scale``. Its gradient with respect to x is 1 where
        ``low * scale <= x <= high * scale`` and 0 elsewhere.
    """
    result: torch.Tensor = _Quantise.apply(x, scale, low, high)
    return result


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: torch.Tensor, bound: float) -> torch.Tensor:
        ctx.save_for_backward(x.abs() <= bound)
        ctx.slope = 1 / bound  # type: ignore[attr-defined]
        one = torch.ones_like(x)
        return torch.where(x >= 0, one, -one)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        zero = torch.zeros_like(gradients[0])
        return torch.where(inside, gradients[0] * ctx.slope, zero), None


def sign(x: torch.Tensor, bound: float) -> torch.Tensor:
    """-1 or +1, of 0 also +1.

    Its gradient is that of x / bound clipped to [-1, 1]: 1 / bound where |x| <= bound, else 0. So
    bound times it, with the levels -bound and bound, has the gradient of the identity.
    """
    result: torch.Tensor = _Sign.apply(x, bound)
    return result


class _ScaledSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return torch.where(x >= 0, scale, -scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return gradients[0], None


def scaled_sign(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """-scale or +scale, of 0 also +scale; the gradient of x is 1 everywhere, of scale none."""
    result: torch.Tensor = _ScaledSign.apply(x, scale)
    return result


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: torch.Tensor, steps: int | None) -> torch.Tensor:
        ctx.save_for_backward((x >= 0) & (x <= 1))
        clipped = x.clamp(0, 1)
        return clipped if steps is None else torch.round(clipped * steps) / steps

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return torch.where(inside, gradients[0], torch.zeros_like(gradients[0])), None


def unit(x: torch.Tensor, steps: int | None) -> torch.Tensor:
    """Clip to [0, 1] and round to multiples of 1 / steps, or do not round if that is None.

    The gradient is 1 on [0, 1], bounds included, and 0 elsewhere.
    """
    result: torch.Tensor = _Unit.apply(x, steps)
    return result
