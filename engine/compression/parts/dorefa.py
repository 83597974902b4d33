"""DoReFa (Zhou 2016, arXiv 1606.06160) for weights and activations."""

from __future__ import annotations

from typing import Any

import torch

from engine.compression.parts import ste
from engine.compression.parts.base import ActivationPart, ActivationQuantiser, WeightQuantiser

_DUST = 1e-20
"""Weights of a layer that are all smaller carry no signal in fp32."""


class DorefaQuantiser(WeightQuantiser):
    """2 round(n v) / n - 1 with v = 0.5 tanh(W) / M + 0.5 and n = 2^b - 1, times the scale.

    M is max|tanh W| as published (equation 9), and takes part in the gradient; or 1, as in the
    code of Bernhard 2019 (arXiv 1909.12741). The levels are the odd multiples of 1 / n up to
    1: there is no zero among them, so a mask cannot stand before this.
    """

    kind = "dorefa"
    lowest = 0
    scale: torch.Tensor

    _steps: int

    def __init__(self, scale: torch.Tensor, bits: int, *, divided: bool) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.bits, self.divided = bits, divided
        self._steps = 2**bits - 1

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Any shape; rounding is straight through."""
        squashed = torch.tanh(weight)
        if self.divided:
            # A layer of nothing but dust stays as it is: its gradient would not be finite.
            largest = squashed.abs().amax()
            squashed = squashed / torch.where(largest > _DUST, largest, torch.ones_like(largest))
        rounded = ste.unit(0.5 * squashed + 0.5, self._steps)
        return (2 * rounded - 1) * self.scale

    def options(self) -> dict[str, Any]:
        """See ``Part.options``."""
        return {"bits": self.bits, "divided": self.divided}

    @classmethod
    def blank(cls, weight: torch.Tensor, options: dict[str, Any]) -> DorefaQuantiser:
        """See ``WeightPart.blank``."""
        return cls(torch.ones(()), **options)

    def codes(self, weight: torch.Tensor) -> torch.Tensor:
        """See ``WeightQuantiser.codes``."""
        unit = 0.5 * (weight / self.scale.to(weight.device)) + 0.5
        return torch.round(unit * self._steps)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """See ``WeightQuantiser.decode``."""
        return (2 * (codes / self._steps) - 1) * self.scale


class DorefaSign(WeightQuantiser):
    """E sign(W) with E = mean|W| over the layer (section 2.3): DoReFa with 1 bit, two levels.

    E is the scale, that of the present weights; it takes no part in the gradient, which is the
    identity everywhere. sign(0) is +1. (Code that takes the sign of TensorFlow, which is 0
    there, has a third level.)
    """

    kind = "dorefa-sign"
    bits = 1
    lowest = 0
    scale: torch.Tensor

    def __init__(self, scale: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)

    @classmethod
    def on(cls, weight: torch.Tensor) -> DorefaSign:
        """One with the scale of a weight."""
        part = cls(weight.new_ones(()))
        part.follow(weight)
        return part

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Any shape."""
        return ste.scaled_sign(weight, self.scale)

    def follow(self, weight: torch.Tensor) -> None:
        """See ``WeightQuantiser.follow``; 1 for nothing but zeros."""
        mean = weight.abs().mean()
        self.scale.copy_(torch.where(mean > 0, mean, torch.ones_like(mean)))

    @classmethod
    def blank(cls, weight: torch.Tensor, options: dict[str, Any]) -> DorefaSign:
        """See ``WeightPart.blank``."""
        return cls(torch.ones(()), **options)

    def codes(self, weight: torch.Tensor) -> torch.Tensor:
        """See ``WeightQuantiser.codes``; 0 is the negative level."""
        return (weight > 0).to(weight.dtype)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """See ``WeightQuantiser.decode``."""
        return (2 * codes - 1) * self.scale


class UnitClip(ActivationPart):
    """min(1, |a|): what DoReFa does to activations also where they are not quantised."""

    kind = "unit-clip"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape; the gradient is the sign of x where |x| <= 1."""
        return ste.unit(x.abs(), None)

    @classmethod
    def blank(cls, options: dict[str, Any]) -> UnitClip:
        """See ``ActivationPart.blank``."""
        return cls(**options)


class DorefaActivation(ActivationQuantiser):
    """round(n min(1, |a|)) / n with n = 2^b - 1."""

    kind = "dorefa-activation"

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape; the gradient is the sign of x where |x| <= 1."""
        return ste.unit(x.abs(), 2**self.bits - 1)

    def options(self) -> dict[str, Any]:
        """See ``Part.options``."""
        return {"bits": self.bits}

    @classmethod
    def blank(cls, options: dict[str, Any]) -> DorefaActivation:
        """See ``ActivationPart.blank``."""
        return cls(**options)
