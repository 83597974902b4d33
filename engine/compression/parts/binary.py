"""Binary weights and activations (Courbariaux 2015, arXiv 1511.00363; 2016, arXiv 1602.02830)."""

from __future__ import annotations

from typing import Any

import torch

from engine.compression.parts import ste
from engine.compression.parts.base import ActivationQuantiser, BoundedQuantiser


class BinaryQuantiser(BoundedQuantiser):
    """Leaves the sign of each weight, times one number for the layer: two levels, never zero.

    sign(0) is +1. (Code that takes the sign of TensorFlow, which is 0 there, has a third level.)
    As published the number is the bound, and backward the levels are the identity where the
    trained weight is within [-bound, bound], else 0. A rescaled layer has another number; what
    it is in bounds is a fixed factor of the layer, of its gradient too.
    """

    kind = "binary"
    bits = 1
    lowest = 0
    scale: torch.Tensor

    def __init__(self, scale: torch.Tensor, bound: float = 1.0, lr_factor: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.bound, self.lr_factor = bound, lr_factor

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Any shape; the gradient is scale / bound within the bound."""
        return ste.sign(weight, self.bound) * self.scale

    def options(self) -> dict[str, Any]:
        """See ``Part.options``."""
        return {"bound": self.bound, "lr_factor": self.lr_factor}

    @classmethod
    def blank(cls, weight: torch.Tensor, options: dict[str, Any]) -> BinaryQuantiser:
        """See ``WeightPart.blank``."""
        return cls(torch.ones(()), **options)

    def codes(self, weight: torch.Tensor) -> torch.Tensor:
        """See ``WeightQuantiser.codes``; 0 is the negative level."""
        return (weight > 0).to(weight.dtype)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """See ``WeightQuantiser.decode``."""
        return (2 * codes - 1) * self.scale


class SignActivation(ActivationQuantiser):
    """-1 or +1 in place of a ReLU, whose outputs have but one sign; sign(0) is +1.

    Backward, the identity on [-1, 1]. Where a convolution pads, it reads zeros besides.
    """

    kind = "sign"
    bits = 1
    replaces = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape."""
        return ste.sign(x, 1.0)

    @classmethod
    def blank(cls, options: dict[str, Any]) -> SignActivation:
        """See ``ActivationPart.blank``."""
        return cls(**options)
