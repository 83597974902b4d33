"""Which layers a step works on, and reading and changing what hangs on their weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize

from engine.compression.parts.base import ActivationPart, BoundedQuantiser, Part, WeightQuantiser
from engine.compression.parts.mask import Mask
from engine.models.masked import is_marked

Layer = nn.Conv2d | nn.Linear


def weight_layers(model: nn.Module) -> list[tuple[str, Layer]]:
    """All convolutions and linear layers with their names, in order of definition."""
    return [(name, m) for name, m in model.named_modules() if isinstance(m, Layer)]


def bare_matrices(model: nn.Module) -> list[nn.Parameter]:
    """All parameters that no such layer owns and that are more than one number for each channel."""
    owned = {id(one) for _, layer in weight_layers(model) for one in layer.parameters(recurse=True)}
    return [
        one
        for one in model.parameters()
        if id(one) not in owned and sum(size > 1 for size in one.shape) > 1
    ]


def on_weight(layer: nn.Module) -> list[nn.Module]:
    """The parametrizations of a weight, in the order they act."""
    if not parametrize.is_parametrized(layer, "weight"):
        return []
    chain = layer.parametrizations["weight"]  # type: ignore[index]
    return list(chain)


def attach(layer: nn.Module, parametrization: nn.Module) -> None:
    """Add a parametrization behind those already on the weight."""
    parametrize.register_parametrization(layer, "weight", parametrization)


def replace_last(layer: nn.Module, parametrization: nn.Module) -> None:
    """Put another parametrization in the place of the last on a weight."""
    chain = layer.parametrizations["weight"]  # type: ignore[index]
    assert isinstance(chain, nn.ModuleList)
    chain[-1] = parametrization


def mask_zeros(layer: Layer) -> None:
    """Add a mask that keeps the weights at zero that are zero now."""
    attach(layer, Mask(layer.weight.detach() != 0))


def hold_zeros(model: nn.Module) -> None:
    """Hang the masks that a base model came with on its weights, in place."""
    for _, layer in weight_layers(model):
        if is_marked(layer) and not on_weight(layer):
            mask_zeros(layer)


def bake(model: nn.Module) -> None:
    """Replace every parametrized weight by its present value.

    Not by ``remove_parametrizations``: a deep copy shares its class with the original, and that
    function deletes the weight from the class, so baking the copy would break the original.
    """
    for _, layer in weight_layers(model):
        if parametrize.is_parametrized(layer, "weight"):
            value = layer.weight.detach().clone()
            layer.__class__ = parametrize.type_before_parametrizations(layer)
            del layer.parametrizations
            layer.weight = nn.Parameter(value)


def replace_module(model: nn.Module, path: str, new: nn.Module) -> None:
    """Put another module at a dotted path."""
    parent, _, name = path.rpartition(".")
    model.get_submodule(parent).add_module(name, new)


def attach_behind(model: nn.Module, path: str, quantiser: ActivationPart) -> None:
    """Put a part behind the module at a path, or in its place if the part is made for that."""
    inner = model.get_submodule(path)
    if quantiser.replaces:
        inner = nn.Identity()
    pair = nn.Sequential(OrderedDict(relu=inner, quantiser=quantiser))
    replace_module(model, path, pair.train(inner.training))


def modules_of(model: nn.Module, kind: type[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """All modules of a kind; one that is used under two names comes twice."""
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, kind):
            yield name, module


def weight_of(layer: Layer) -> torch.Tensor:
    """The effective weight, detached: masks and quantisers applied."""
    return layer.weight.detach()


def quantised_weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, WeightQuantiser]]:
    """The trained weights below quantisers, by their names in the model."""
    for name, layer in weight_layers(model):
        for part in on_weight(layer):
            if isinstance(part, WeightQuantiser):
                original = layer.parametrizations["weight"].original  # type: ignore[index,union-attr]
                assert isinstance(original, nn.Parameter)
                yield f"{name}.parametrizations.weight.original", original, part


def bounded_weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, BoundedQuantiser]]:
    """The trained weights that must stay within a bound, by their names in the model."""
    for name, weight, part in quantised_weights(model):
        if isinstance(part, BoundedQuantiser):
            yield name, weight, part


def settle(model: nn.Module) -> None:
    """After a gradient step: bounded weights into their bounds, scales to where they belong."""
    for _, weight, part in bounded_weights(model):
        weight.data.clamp_(-part.bound, part.bound)
    for _, weight, quantiser in quantised_weights(model):
        quantiser.follow(weight.detach())
    for module in model.modules():
        if isinstance(module, Part):
            module.settle()
