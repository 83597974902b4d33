"""Learned step sizes (Esser 2020, arXiv 1902.08153)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from engine.compression.parts.base import ActivationQuantiser, WeightQuantiser

_LEAST_STEP = 1e-8


class _Learned(torch.autograd.Function):
    """Equations 1 and 2 forward, 3 and 5 backward; the gradient of the step is scaled."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        step: torch.Tensor,
        low: int,
        high: int,
        factor: float | torch.Tensor,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, step)
        ctx.low, ctx.high, ctx.factor = low, high, factor
        return torch.round(x / step).clamp(low, high) * step

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, step = ctx.saved_tensors
        ratio = x / step
        inside = (ratio > ctx.low) & (ratio < ctx.high)
        zero = torch.zeros_like(gradients[0])
        slope = torch.where(
            inside, torch.round(ratio) - ratio, torch.round(ratio).clamp(ctx.low, ctx.high)
        )
        # In the precision of the step, whatever that of x (autocast).
        terms = gradients[0].to(step.dtype) * slope.to(step.dtype)
        of_step = terms.sum_to_size(step.shape) * ctx.factor
        return torch.where(inside, gradients[0], zero), of_step, None, None, None


def learned_step(
    x: torch.Tensor, step: torch.Tensor, low: int, high: int, factor: float | torch.Tensor
) -> torch.Tensor:
    """round(clip(x / s, low, high)) s, with a gradient for x and for s.

    Args:
        x: any shape.
        step: s > 0; broadcasts against x.
        low: smallest code, Q_N with its sign.
        high: largest code, Q_P.
        factor: the gradient of s is multiplied by it, 1 / sqrt(N Q_P); a number, or as s.

    Returns:
        Gradient of x: 1 where low < x / s < high, strictly, as in equation 5. Of s: the sum of
        round(x / s) - x / s there, and of low or high beyond.
    """
    result: torch.Tensor = _Learned.apply(x, step, low, high, factor)
    return result


def first_step(magnitude: torch.Tensor, high: int) -> torch.Tensor:
    """The step to begin with, 2 mean|x| / sqrt(Q_P) (section 2.1); 1 for nothing but zeros."""
    return torch.where(magnitude > 0, 2 * magnitude / high**0.5, torch.ones_like(magnitude))


class LsqQuantiser(WeightQuantiser):
    """Rounds a weight to the codes -2^(b-1) ... 2^(b-1) - 1 times a step that is trained.

    ``scale`` is the step: () for the layer, or (O, 1, ...) for each output channel. Weights that
    are 0 are none of those that share it: they are pruned, have their code whatever the step is,
    and would only make it too small.
    """

    kind = "lsq"
    scale: nn.Parameter

    def __init__(self, scale: torch.Tensor, bits: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale)
        self.bits = bits
        self.lowest, self.high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    @classmethod
    def on(cls, weight: torch.Tensor, bits: int, *, channels: bool) -> LsqQuantiser:
        """One with the first step for a weight (O, ...)."""
        shape = (len(weight), *[1] * (weight.dim() - 1)) if channels else ()
        size = _shared(weight.abs(), shape) / _live(weight, shape)
        return cls(first_step(size, 2 ** (bits - 1) - 1), bits)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """(O, ...) to the nearest multiples of the step."""
        factor = (_live(weight, self.scale.shape) * self.high) ** -0.5
        return learned_step(weight, self.scale, self.lowest, self.high, factor)

    def settle(self) -> None:
        """See ``Part.settle``."""
        self.scale.data.clamp_(min=_LEAST_STEP)

    def options(self) -> dict[str, Any]:
        """See ``Part.options``."""
        return {"bits": self.bits, "channels": self.scale.dim() > 0}

    @classmethod
    def blank(cls, weight: torch.Tensor, options: dict[str, Any]) -> LsqQuantiser:
        """See ``WeightPart.blank``."""
        return cls.on(weight.detach(), **options)


def _shared(values: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """The sums over what shares a step of a shape: () or (O, 1, ...)."""
    return values.sum_to_size(tuple(shape))


def _live(weight: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """How many weights that are not 0 share each step, as floats; 1 where there are none."""
    with torch.no_grad():
        return _shared((weight != 0).to(torch.float32), shape).clamp(min=1)


class LsqActivation(ActivationQuantiser):
    """Rounds activations that are never negative to 0 ... 2^b - 1 times a step that is trained."""

    kind = "lsq-activation"
    scale: nn.Parameter

    def __init__(self, scale: torch.Tensor, bits: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale)
        self.bits = bits
        self.high = 2**bits - 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, ...); the gradient of the step is scaled by the features of one image."""
        factor = (x[0].numel() * self.high) ** -0.5
        return learned_step(x, self.scale, 0, self.high, factor)

    def settle(self) -> None:
        """See ``Part.settle``."""
        self.scale.data.clamp_(min=_LEAST_STEP)

    def options(self) -> dict[str, Any]:
        """See ``Part.options``."""
        return {"bits": self.bits}

    @classmethod
    def blank(cls, options: dict[str, Any]) -> LsqActivation:
        """See ``ActivationPart.blank``."""
        return cls(torch.ones(()), **options)
