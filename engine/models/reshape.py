"""Networks whose layers are narrower than their architecture says: rebuilt from shapes alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from engine.errors import ModelError

Shapes = Mapping[str, tuple[int, ...]]

_SIZED = nn.Conv2d | nn.Linear | nn.modules.batchnorm._BatchNorm

_WEIGHTS = ("weight", "parametrizations.weight.original")
"""How a weight is called in a state dict: by itself, and below masks and quantisers."""


def fit_shapes(module: nn.Module, shapes: Shapes) -> None:
    """Give convolutions, linear layers and BatchNorm the sizes of stored tensors, in place.

    What has its size already stays as it is; the rest gets fresh tensors of zeros, to be loaded
    strictly afterwards. A grouped convolution keeps its groups, a depthwise one has as many as
    channels. Other parameters, of normalisation over channels or bare ones, take any length.

    Args:
        module: of the right architecture, with nothing on its weights.
        shapes: of all tensors of the stored network, by name; a weight may stand below
            parametrizations.

    Raises:
        ModelError: a layer is missing or has a shape that it cannot take.
    """
    for name, layer in module.named_modules():
        if not isinstance(layer, _SIZED) or layer.weight is None:
            continue
        shape = _stored(shapes, name)
        if shape == tuple(layer.weight.shape):
            continue
        if shape is None or len(shape) != layer.weight.dim() or 0 in shape:
            raise _refusal(name)
        _fit(name, layer, shape)
    _fit_rest(module, shapes)


def _fit_rest(module: nn.Module, shapes: Shapes) -> None:
    for name, parameter in list(module.named_parameters()):
        shape = shapes.get(name)
        if shape is None or shape == tuple(parameter.shape):
            continue
        owner, _, kind = name.rpartition(".")
        layer = module.get_submodule(owner)
        if len(shape) != parameter.dim() or 0 in shape:
            raise _refusal(owner or name)
        setattr(layer, kind, nn.Parameter(parameter.new_zeros(shape), parameter.requires_grad))
        if isinstance(layer, nn.LayerNorm):
            layer.normalized_shape = shape
        elif isinstance(layer, nn.GroupNorm):
            layer.num_channels = shape[0]


def _stored(shapes: Shapes, name: str) -> tuple[int, ...] | None:
    prefix = f"{name}." if name else ""
    found = (shapes.get(prefix + weight) for weight in _WEIGHTS)
    return next((shape for shape in found if shape is not None), None)


def _fit(name: str, layer: nn.Module, shape: tuple[int, ...]) -> None:
    match layer:
        case nn.Conv2d():
            _fit_convolution(name, layer, shape)
        case nn.Linear():
            layer.out_features, layer.in_features = shape
        case nn.modules.batchnorm._BatchNorm():
            layer.num_features = shape[0]
    for kind in ("weight", "bias"):
        if (old := getattr(layer, kind)) is not None:
            size = shape if kind == "weight" else shape[:1]
            setattr(layer, kind, nn.Parameter(old.new_zeros(size), old.requires_grad))
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        for kind in ("running_mean", "running_var"):
            if (statistic := getattr(layer, kind)) is not None:
                setattr(layer, kind, torch.zeros(shape).to(statistic))


def _fit_convolution(name: str, layer: nn.Conv2d, shape: tuple[int, ...]) -> None:
    if shape[2:] != layer.kernel_size:
        raise _refusal(name)
    if layer.groups == 1:
        layer.out_channels, layer.in_channels = shape[:2]
    elif layer.groups == layer.in_channels == layer.out_channels and shape[1] == 1:
        layer.out_channels = layer.in_channels = layer.groups = shape[0]
    elif shape[0] % layer.groups == 0 and layer.groups < layer.out_channels:
        layer.out_channels, layer.in_channels = shape[0], shape[1] * layer.groups
    else:
        raise _refusal(name)


def _refusal(name: str) -> ModelError:
    return ModelError(
        f"The stored weights do not fit the architecture at {name!r}.",
        "The file is damaged or belongs to another model: restore it or make it again.",
    )
