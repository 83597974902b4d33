"""Post-training quantisation (Jacob 2018, arXiv 1712.05877; Nagel 2021, arXiv 2106.08295)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from engine.catalog.compressions.quantisation import PtqParams
from engine.compression.context import Context
from engine.compression.layers import (
    attach,
    attach_behind,
    modules_of,
    weight_layers,
    weight_of,
)
from engine.compression.parts import ste
from engine.compression.parts.base import ActivationQuantiser, WeightQuantiser
from engine.errors import SpecError
from engine.evaluation.guard import forked_rng
from engine.evaluation.model_call import ask

_CLIPPING = torch.linspace(1.0, 0.1, 91)  # shares of the largest value that are tried as range
_SAMPLES = 50_000  # activations per layer that choose its range


class SymmetricQuantiser(WeightQuantiser):
    """Rounds a weight to symmetric codes with one scale per output channel.

    b bits give the codes -(2^(b-1)-1) ... 2^(b-1)-1: 2^b - 1 levels, zero among them.
    """

    kind = "symmetric"
    scale: torch.Tensor

    def __init__(self, scale: torch.Tensor, bits: int) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.bits = bits
        self.high = 2 ** (bits - 1) - 1
        self.lowest = -self.high

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """(O, ...) to the nearest multiples of each channel's scale."""
        return ste.quantise(weight, self.scale, -self.high, self.high)

    def options(self) -> dict[str, Any]:
        """See ``Part.options``."""
        return {"bits": self.bits}

    @classmethod
    def blank(cls, weight: torch.Tensor, options: dict[str, Any]) -> SymmetricQuantiser:
        """See ``WeightPart.blank``."""
        return cls(torch.ones(len(weight), *[1] * (weight.dim() - 1)), options["bits"])


class UnsignedQuantiser(ActivationQuantiser):
    """Rounds activations that are never negative to the codes 0 ... 2^b - 1, one scale."""

    kind = "unsigned"
    scale: torch.Tensor

    def __init__(self, scale: torch.Tensor, bits: int) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.bits = bits
        self.high = 2**bits - 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape."""
        return ste.quantise(x, self.scale, 0, self.high)

    def options(self) -> dict[str, Any]:
        """See ``Part.options``."""
        return {"bits": self.bits}

    @classmethod
    def blank(cls, options: dict[str, Any]) -> UnsignedQuantiser:
        """See ``ActivationQuantiser.blank``."""
        return cls(torch.ones(()), options["bits"])


def ptq(model: nn.Module, params: PtqParams, context: Context) -> nn.Module:
    """Quantise weights, and if asked the outputs of all ReLUs, in place.

    ``skip_first_last`` concerns the weights of the first and the last layer.

    Raises:
        SpecError: activations are to be quantised but there is nothing to calibrate on.
    """
    layers = [layer for _, layer in weight_layers(model)]
    for layer in layers[1:-1] if params.skip_first_last else layers:
        weight = weight_of(layer)
        quantiser = SymmetricQuantiser(channel_scales(weight, params.bits), params.bits)
        attach(layer, quantiser.to(weight.device))
    if params.activation_bits != "none":
        _quantise_activations(model, params.activation_bits, context)
    return model


def channel_scales(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """The scale of each output channel with the least squared rounding error.

    Args:
        weight: (O, ...).
        bits: of a code.

    Returns:
        (O, 1, ...) scales; 1 for a channel of zeros.
    """
    high = 2 ** (bits - 1) - 1
    rows = weight.flatten(1)
    scale = _best_scale(rows, rows.abs().amax(dim=1, keepdim=True) / high, -high, high)
    return scale.reshape(-1, *[1] * (weight.dim() - 1))


def _best_scale(rows: torch.Tensor, widest: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """Per row, the share of the widest scale that rounds best; (R, K) and (R, 1) to (R, 1)."""
    widest = torch.where(widest > 0, widest, torch.ones_like(widest))
    best, least = widest, torch.full_like(widest, torch.inf)
    for share in _CLIPPING.tolist():
        scale = widest * share
        rounded = ste.codes(rows, scale, low, high) * scale
        error = (rounded - rows).square().sum(dim=1, keepdim=True)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best


def _quantise_activations(model: nn.Module, bits: int, context: Context) -> None:
    if context.calibration is None:
        raise SpecError(
            "ptq: activation_bits needs training images to choose the ranges from, and this "
            "dataset has none.",
            "Set activation_bits to 'none'.",
        )
    samples = relu_outputs(model, context.calibration, context.seed)
    if not samples:
        raise SpecError(
            "ptq: activation_bits needs a model with ReLU modules, and this one has none.",
            "Set activation_bits to 'none'.",
        )
    high = 2**bits - 1
    for path, values in samples.items():
        scale = _best_scale(values[None], values.max().reshape(1, 1) / high, 0, high)
        attach_behind(model, path, UnsignedQuantiser(scale.reshape(()), bits))


def relu_outputs(model: nn.Module, images: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """A random sample of what leaves each ReLU on the calibration images."""
    generator = torch.Generator().manual_seed(seed)
    samples: dict[str, torch.Tensor] = {}

    def keep(path: str, output: torch.Tensor) -> None:
        values = output.detach().flatten()
        chosen = torch.randint(len(values), (_SAMPLES,), generator=generator)
        seen = values[chosen.to(values.device)]
        samples[path] = torch.cat([samples[path], seen]) if path in samples else seen

    handles = [
        module.register_forward_hook(lambda _m, _i, output, path=path: keep(path, output))
        for path, module in modules_of(model, nn.ReLU)
    ]
    try:
        with torch.no_grad(), forked_rng(seed):  # what stands in front may draw
            ask(model, images)
    finally:
        for handle in handles:
            handle.remove()
    return samples
