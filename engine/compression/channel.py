"""Real removal of channels through torch-pruning (Fang 2023, arXiv 2301.12900)."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from engine.catalog.compressions_pruning import ChannelParams
from engine.compression.context import Context
from engine.compression.counting import count_macs
from engine.compression.layers import on_weight, weight_layers
from engine.errors import SpecError
from engine.models.tensors import count_parameters

_HALVINGS = 12
_NEAR = 0.005
"""A share this near ends the search."""
_TOLERANCE = 0.05
"""By how much of the whole the share that stays may miss what was asked for."""

Shape = tuple[int, int, int]


def channel(model: nn.Module, params: ChannelParams, context: Context) -> nn.Module:
    """Remove the weakest channels of a model.

    Channels that must go together, over shortcuts and depthwise convolutions, are ranked by the
    mean norm of their weights; the same share goes everywhere. That share is searched for, since
    work and parameters fall about with its square.

    Returns:
        A smaller network of the same classes; only the sizes of its layers differ.

    Raises:
        SpecError: masks or quantisers hang on the model, its images are unknown, or what can be
            reached is too far from what was asked for.
    """
    layers = weight_layers(model)
    if any(on_weight(layer) for _, layer in layers):
        raise SpecError(
            "channel: masks or quantisers hang on the weights already.",
            "Put channel before the steps that mask or quantise.",
        )
    if context.image_shape is None:
        raise SpecError("channel: the shape of an image is not known.", "Leave out this step.")
    shape = context.image_shape
    size = _macs(shape) if params.target == "macs" else count_parameters
    whole = size(model)
    share, found = _search(model, shape, params, lambda one: size(one) / whole)
    if count_parameters(found) == count_parameters(model):
        raise SpecError(
            f"channel: nothing can be removed in multiples of round_to = {params.round_to}.",
            "Lower round_to, or keep less.",
        )
    if abs(share - params.keep) > _TOLERANCE:
        raise SpecError(
            f"channel: nearest to keep = {params.keep:.4g} of the {params.target} is {share:.4g}.",
            f"Set keep to {share:.2g}, or lower round_to.",
        )
    return found


def _search(
    model: nn.Module, shape: Shape, params: ChannelParams, share: Callable[[nn.Module], float]
) -> tuple[float, nn.Module]:
    """Halve the interval of the ratio; of all that was tried the nearest."""
    low, high = 0.0, 1.0
    best: tuple[float, nn.Module] = (1.0, model)
    for _ in range(_HALVINGS):
        ratio = (low + high) / 2
        smaller = without_channels(model, shape, ratio, params)
        reached = share(smaller)
        if abs(reached - params.keep) < abs(best[0] - params.keep):
            best = reached, smaller
        if abs(best[0] - params.keep) < _NEAR:
            break
        low, high = (ratio, high) if reached > params.keep else (low, ratio)
    return best


def without_channels(
    model: nn.Module, shape: Shape, ratio: float, params: ChannelParams
) -> nn.Module:
    """A copy of a model whose layers lack this share of their channels."""
    import torch_pruning

    smaller = copy.deepcopy(model).eval().requires_grad_(True)
    pruner = torch_pruning.pruner.BasePruner(
        smaller,
        torch.zeros(1, *shape),
        torch_pruning.importance.GroupMagnitudeImportance(p=1 if params.criterion == "l1" else 2),
        pruning_ratio=ratio,
        round_to=params.round_to,
        ignored_layers=[weight_layers(smaller)[-1][1]],
        # The defaults are shared by all pruners of the process and would remember the last.
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
    )
    pruner.step()
    return smaller


def _macs(shape: Shape) -> Callable[[nn.Module], int]:
    return lambda model: sum(count_macs(model, shape).values())
