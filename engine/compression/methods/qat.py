"""Quantisation-aware training: quantisers on the weights and activations, then training."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from engine.catalog.compressions.qat import QatParams
from engine.compression.context import Context
from engine.compression.layers import (
    Layer,
    attach,
    attach_behind,
    modules_of,
    on_weight,
    settle,
    weight_layers,
    weight_of,
)
from engine.compression.methods.ptq import relu_outputs
from engine.compression.parts.base import ActivationPart, WeightQuantiser
from engine.compression.parts.binary import BinaryQuantiser, SignActivation
from engine.compression.parts.dorefa import DorefaActivation, DorefaQuantiser, DorefaSign, UnitClip
from engine.compression.parts.lsq import LsqActivation, LsqQuantiser, first_step
from engine.compression.retrain import retrain, training_of
from engine.errors import SpecError
from engine.training import Objective, objective_of

_END_BITS = 8
"""Of the first and the last layer, where they are kept finer than the rest."""

_SAMPLE = 512
"""Images that the first steps of activations are taken from."""


def qat(model: nn.Module, params: QatParams, context: Context) -> nn.Module:
    """Quantise and train, in place. The start counts as a candidate beside the epochs.

    Raises:
        SpecError: there are no training images; or the method has no zero and a mask asks for
            some; or activations are to be quantised and the model has no ReLU modules.
        TrainingError: it diverged.
        Cancelled: it was stopped.
    """
    images = training_of(context, "qat").images[:_SAMPLE]
    for layer, bits in _bits(model, params):
        quantiser = _weight_quantiser(layer, bits, params)
        attach(layer, quantiser.to(layer.weight.device))
    _quantise_activations(model, params, images, context.seed)
    settle(model)
    recipe = params.recipe()
    frozen_from = recipe.epochs - math.floor(params.freeze_bn * recipe.epochs)
    objective = LateFrozen(objective_of(recipe), frozen_from)
    retrain(model, recipe, context, "qat", objective=objective, start_counts=True)
    return model


def _bits(model: nn.Module, params: QatParams) -> list[tuple[Layer, int]]:
    """The layers to quantise, each with its bits."""
    layers = [layer for _, layer in weight_layers(model)]
    inner = [(layer, params.bits) for layer in layers[1:-1]]
    if params.first_last == "fp32":
        return inner
    bits = params.bits if params.first_last == "same" else _END_BITS
    return [(layers[0], bits), *inner, *((layer, bits) for layer in layers[1:][-1:])]


def _weight_quantiser(layer: Layer, bits: int, params: QatParams) -> WeightQuantiser:
    weight = weight_of(layer)
    if params.method == "lsq" or (params.method == "binary" and bits > 1):
        return LsqQuantiser.on(weight, bits, channels=params.steps == "channel")
    if on_weight(layer) and not weight.all():
        raise SpecError(
            f"qat: {params.method} has no level 0, and masks hold weights at 0.",
            "Use method lsq, or a network that is not pruned.",
        )
    if params.method == "dorefa" and bits == 1:
        return DorefaSign.on(weight)
    one = torch.ones(())
    quantiser: WeightQuantiser
    if params.method == "binary":
        glorot = glorot_bound(layer)
        bound = glorot if params.bound == "glorot" else 1.0
        factor = 1 / glorot if params.lr_factor == "glorot" else 1.0
        quantiser = BinaryQuantiser(one * bound, bound, factor)
    else:
        quantiser = DorefaQuantiser(one, bits, divided=params.division == "as published")
    if params.rescale == "all" or (params.rescale == "linear" and isinstance(layer, nn.Linear)):
        with torch.no_grad():
            quantiser.scale *= weight.abs().mean() / quantiser(weight).abs().mean()
    return quantiser


def glorot_bound(layer: Layer) -> float:
    """sqrt(1.5 / (fan in + fan out)), as in the code of Courbariaux 2015."""
    area = layer.weight[0][0].numel()
    return math.sqrt(1.5 / (layer.weight[0].numel() + len(layer.weight) * area))


def _quantise_activations(
    model: nn.Module, params: QatParams, images: torch.Tensor, seed: int
) -> None:
    if params.activation_bits == "none" and params.method != "dorefa":
        return
    relus = [path for path, _ in modules_of(model, nn.ReLU)]
    if not relus:
        raise SpecError(
            "qat: activations need a model with ReLU modules, and this one has none.",
            "Set activation_bits to 'none', with method lsq or binary.",
        )
    samples = {}
    if params.method == "lsq":
        samples = relu_outputs(model, images, seed)
    for path in relus:
        attach_behind(model, path, _activation_part(path, params, samples))


def _activation_part(
    path: str, params: QatParams, samples: Mapping[str, torch.Tensor]
) -> ActivationPart:
    if params.method == "binary":
        return SignActivation()
    if params.activation_bits == "none":
        return UnitClip()
    bits = int(params.activation_bits)
    if params.method == "dorefa":
        return DorefaActivation(bits)
    return LsqActivation(first_step(samples[path].abs().mean(), 2**bits - 1), bits)


class LateFrozen(Objective):
    """Another objective, with BatchNorm statistics that stay as they are in the last epochs."""

    def __init__(self, inner: Objective, last_free: int) -> None:
        self._inner, self._last_free = inner, last_free
        self.threat = inner.threat

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        return self._inner.loss(model, images, labels, generator)

    def begin_epoch(self, model: nn.Module, number: int) -> None:
        """See ``Objective.begin_epoch``."""
        self._inner.begin_epoch(model, number)
        if number > self._last_free:
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def state(self) -> dict[str, torch.Tensor]:
        """See ``Objective.state``."""
        return self._inner.state()

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See ``Objective.restore``."""
        self._inner.restore(state)
