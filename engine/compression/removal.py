"""Which channels a pruner took, and whether they were the same ones on both sides of a join."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from engine.compression.layers import Layer, weight_layers

_TOLERANCE = 1e-4
"""Of the largest logit; what is wired wrongly is off by far more, rounding by far less."""

_NORMS = nn.LayerNorm | nn.GroupNorm

Shape = tuple[int, int, int]
_Outputs = tuple[Mapping[str, torch.Tensor], torch.Tensor]
"""Of each layer in the order of calls, and the logits."""


class Removal:
    """The channels that are left of each layer, while groups of them are removed.

    Args:
        model: the copy that loses channels.

    Attributes:
        inputs: of each layer, by their numbers before anything was removed.
        outputs: likewise.
        last: the layers that make the channels of the last group.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = weight_layers(model)
        self._names = {layer: name for name, layer in layers}
        self.inputs = {name: list(range(_inputs(layer))) for name, layer in layers}
        self.outputs = {name: list(range(len(layer.weight))) for name, layer in layers}
        self.last: set[str] = set()
        self._makers: dict[str, set[str]] = {}

    def note(self, group: Any, graph: Any) -> None:
        """Take in a group of torch-pruning that is about to go.

        Args:
            group: pairs of a dependency and the places it removes, as of now.
            graph: the dependency graph it belongs to.
        """
        read: dict[str, set[int]] = {}
        made: dict[str, set[int]] = {}
        for dep, places in group:
            if (name := self._names.get(dep.target.module)) is None:
                continue
            if graph.is_out_channel_pruning_fn(dep.handler):
                made.setdefault(name, set()).update(places)
            if graph.is_in_channel_pruning_fn(dep.handler):
                read.setdefault(name, set()).update(places)
        self.last = set(made)
        for name in read:
            self._makers.setdefault(name, set()).update(made)
        for left, gone in ((self.inputs, read), (self.outputs, made)):
            for name, places in gone.items():
                kept = [one for place, one in enumerate(left[name]) if place not in places]
                left[name] = kept

    def makers_of(self, name: str) -> set[str]:
        """The layers whose channels a layer has lost as its inputs."""
        return self._makers.get(name, set())


def _inputs(layer: Layer) -> int:
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return int(layer.weight.shape[1]) * groups


def failing_layer(model: nn.Module, shape: Shape) -> tuple[str, Exception] | None:
    """The layer at or behind which a forward pass fails, and why; None if it does not."""
    last = ""

    def enter(name: str) -> None:
        nonlocal last
        last = name

    handles = [
        layer.register_forward_pre_hook(lambda _, __, name=name: enter(name))
        for name, layer in weight_layers(model)
    ]
    try:
        with torch.no_grad():
            model(torch.zeros(1, *shape))
    except Exception as error:  # noqa: BLE001  a network fails in ways of its own
        return last, error
    finally:
        for handle in handles:
            handle.remove()
    return None


def tangled_layer(
    model: nn.Module, smaller: nn.Module, removal: Removal, shape: Shape
) -> str | None:
    """The first layer that reads other channels than those it kept; None if there is none.

    A network whose layers ignore the channels that were removed must say the same as the smaller
    one. Normalisation over channels counts only by its scale and shift, since its statistics are
    other ones where channels are missing.
    """
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))

    def both(kind: torch.dtype) -> tuple[_Outputs, _Outputs]:
        # One after the other: a copy in double precision takes twice what the model does.
        return _outputs(model, images, kind, removal.inputs), _outputs(smaller, images, kind)

    try:
        (expected, logits), (found, others) = both(torch.float64)
    except Exception:  # noqa: BLE001  a network that insists on single precision
        (expected, logits), (found, others) = both(torch.float32)
    for name, output in found.items():
        dimension = -1 if isinstance(model.get_submodule(name), nn.Linear) else 1
        left = torch.tensor(removal.outputs[name])
        if not _near(expected[name].index_select(dimension, left), output):
            return name
    return None if _near(logits, others) else list(found)[-1]


def _ignore(layer: Layer, left: list[int]) -> None:
    """Zero what a layer reads from all other inputs."""
    gone = sorted(set(range(_inputs(layer))) - set(left))
    if isinstance(layer, nn.Linear):
        layer.weight.data[:, gone] = 0
        return
    width, rows = layer.weight.shape[1], len(layer.weight) // layer.groups
    for place in gone:
        group = place // width
        layer.weight.data[group * rows : (group + 1) * rows, place % width] = 0


def _outputs(
    model: nn.Module,
    images: torch.Tensor,
    kind: torch.dtype,
    left: Mapping[str, list[int]] | None = None,
) -> _Outputs:
    """Of a copy of a model.

    Args:
        images: (N, C, H, W) in [0,1].
        kind: the precision of the copy.
        left: by layer the inputs that it reads; all of them if left out.
    """
    twin = copy.deepcopy(model).to(kind).eval()
    if left is not None:
        for name, layer in weight_layers(twin):
            _ignore(layer, left[name])
    found: dict[str, torch.Tensor] = {}
    for name, layer in weight_layers(twin):
        layer.register_forward_hook(
            lambda _, __, output, name=name: found.__setitem__(name, output)
        )
    for norm in twin.modules():
        if isinstance(norm, _NORMS):
            norm.forward = partial(_scaled, norm)  # type: ignore[method-assign]
    with torch.no_grad():
        return found, twin(images.to(kind))


def _scaled(norm: _NORMS, x: torch.Tensor) -> torch.Tensor:
    last = isinstance(norm, nn.LayerNorm) and x.shape[-1] == norm.normalized_shape[-1]
    for kind, change in (("weight", torch.mul), ("bias", torch.add)):
        if (tensor := getattr(norm, kind)) is not None:
            form = tensor if last else tensor.reshape(-1, *[1] * (x.dim() - 2))
            x = change(x, form)
    return x


def _near(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape:
        return False
    scale = max(float(one.abs().max()), 1e-12)
    return bool(((one - other).abs().max() <= _TOLERANCE * scale).item())
