"""Real removal of channels through torch-pruning (Fang 2023, arXiv 2301.12900)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from engine.catalog.compressions.pruning import ChannelParams
from engine.compression.context import Context
from engine.compression.layers import bake, mask_zeros, on_weight, weight_layers
from engine.compression.macs import count_macs
from engine.compression.parts.mask import Mask
from engine.compression.removal import Removal, failing_layer, tangled_layer
from engine.errors import SpecError
from engine.models.files.tensors import count_parameters

_HALVINGS = 12
_NEAR = 0.005
"""A share this near ends the search."""
_MOST_PLACES = 2**20
_TOLERANCE = 0.05
"""By how much of the whole the share that stays may miss what was asked for."""

Shape = tuple[int, int, int]


def channel(model: nn.Module, params: ChannelParams, context: Context) -> nn.Module:
    """Remove the weakest channels of a model.

    Channels that must go together, over shortcuts and depthwise convolutions, are ranked by the
    mean norm of their weights; the same share goes everywhere. That share is searched for, since
    work and parameters fall about with its square. Layers whose channels cannot be followed to
    those who read them, as through a shuffle, keep theirs. Masks that the model came with count in
    the norms, and hold the zeros of what is left.

    Returns:
        A smaller network of the same classes; only the sizes of its layers differ.

    Raises:
        SpecError: quantisers hang on the model, its images are unknown, its channels cannot be
            followed at all, or what can be reached is too far from what was asked for.
    """
    if context.image_shape is None:
        raise SpecError("channel: the shape of an image is not known.", "Leave out this step.")
    masked = _take_masks(model)
    pruner = _Pruner(model, context.image_shape, params)
    pruner.untangle()
    size = _macs(context.image_shape) if params.target == "macs" else count_parameters
    whole = size(model)
    share, found = _search(model, pruner, params, lambda one: size(one) / whole)
    if count_parameters(found) == count_parameters(model):
        raise SpecError(
            f"channel: nothing can be removed in multiples of round_to = {params.round_to}"
            f"{pruner.reason()}.",
            "Lower round_to, or keep less.",
        )
    if abs(share - params.keep) > _TOLERANCE:
        raise SpecError(
            f"channel: nearest to keep = {params.keep:.4g} of the {params.target} is {share:.4g}"
            f"{pruner.reason()}.",
            f"Set keep to {share:.2g}, or lower round_to.",
        )
    for name, layer in weight_layers(found):
        if name in masked:
            mask_zeros(layer)
    return found


def _take_masks(model: nn.Module) -> set[str]:
    """Make masked weights plain ones, in place; the names of their layers.

    Raises:
        SpecError: something else than a mask hangs on a weight.
    """
    chains = {name: on_weight(layer) for name, layer in weight_layers(model)}
    if any(not isinstance(part, Mask) for chain in chains.values() for part in chain):
        raise SpecError(
            "channel: quantisers hang on the weights already.",
            "Put channel before the step that quantises.",
        )
    bake(model)
    return {name for name, chain in chains.items() if chain}


class _Pruner:
    """Removes shares of the channels of a model, but those of layers that it must leave."""

    def __init__(self, model: nn.Module, shape: Shape, params: ChannelParams) -> None:
        self._model, self._shape, self._params = model, shape, params
        self._left: set[str] = set()
        self.removal = Removal(model)

    def without(self, ratio: float) -> nn.Module:
        """A copy without this share of its channels; ``removal`` tells which are left."""
        smaller = copy.deepcopy(self._model).eval().requires_grad_(True)
        self.removal = Removal(smaller)
        with _bounded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parameters in no layer; they are followed too
            _remove(smaller, self._shape, ratio, self._params, self._left, self.removal)
        for name, parameter in self._model.named_parameters():
            smaller.get_parameter(name).requires_grad_(parameter.requires_grad)
        return smaller

    def untangle(self) -> None:
        """Find the layers to leave, once for all shares.

        Raises:
            SpecError: the smaller network fails, or reads other channels than are left, whatever
                is left alone.
        """
        while (tangle := self._tangle()) is not None:
            if not tangle.makers - self._left:
                raise tangle.refusal() from tangle.error
            self._left |= tangle.makers

    def _tangle(self) -> _Tangle | None:
        """The first that is found at half the channels, None if there is none."""
        try:
            smaller = self.without(0.5)
        except Exception as error:  # noqa: BLE001  torch-pruning fails in ways of its own
            last = sorted(self.removal.last)
            place = f"layer {last[0]!r}" if last else "its reshapes and joins"
            return _Tangle(place, set(last), error)
        if failing := failing_layer(smaller, self._shape):
            name, why = failing
            return _Tangle(f"layer {name!r}", self.removal.makers_of(name), why)
        tangled = tangled_layer(self._model, smaller, self.removal, self._shape)
        if tangled is None:
            return None
        return _Tangle(f"layer {tangled!r}", self.removal.makers_of(tangled))

    def reason(self) -> str:
        """Which layers were left, for messages; empty if none was."""
        return f" (left alone: {', '.join(sorted(self._left))})" if self._left else ""


@dataclass(frozen=True)
class _Tangle:
    """A place where removed channels and those that are read no more are not the same.

    Attributes:
        place: in words.
        makers: the layers whose channels are concerned.
        error: what the network or torch-pruning said, if it failed.
    """

    place: str
    makers: set[str]
    error: Exception | None = None

    def refusal(self) -> SpecError:
        """The sentence for it, if nothing is left that could keep its channels."""
        return SpecError(
            f"channel: the channels of this network cannot be followed through {self.place}.",
            "Use 'filter', which zeroes channels and leaves the sizes as they are, or 'magnitude'.",
        )


def _search(
    model: nn.Module,
    pruner: _Pruner,
    params: ChannelParams,
    share: Callable[[nn.Module], float],
) -> tuple[float, nn.Module]:
    """Halve the interval of the ratio; of all that was tried the nearest."""
    low, high = 0.0, 1.0
    best: tuple[float, nn.Module] = (1.0, model)
    for _ in range(_HALVINGS):
        ratio = (low + high) / 2
        smaller = pruner.without(ratio)
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
    return _Pruner(model, shape, params).without(ratio)


def _remove(
    model: nn.Module,
    shape: Shape,
    ratio: float,
    params: ChannelParams,
    left: Collection[str],
    removal: Removal,
) -> None:
    """Remove a share of the channels in place."""
    import torch_pruning

    layers = weight_layers(model)
    pruner = torch_pruning.pruner.BasePruner(
        model,
        torch.zeros(1, *shape),
        torch_pruning.importance.GroupMagnitudeImportance(p=1 if params.criterion == "l1" else 2),
        pruning_ratio=ratio,
        round_to=params.round_to,
        ignored_layers=[layers[-1][1], *(layer for name, layer in layers if name in left)],
        # The defaults are shared by all pruners of the process and would remember the last.
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
    )
    try:
        for group in pruner.step(interactive=True):
            removal.note(group, pruner.DG)
            group.prune()
    finally:
        _let_go(pruner)


def _let_go(pruner: Any) -> None:
    """Its parts refer to each other in circles, and would keep every network that is tried."""
    for node in pruner.DG.module2node.values():
        vars(node).clear()
    vars(pruner.DG).clear()
    vars(pruner).clear()


@contextmanager
def _bounded() -> Iterator[None]:
    """torch-pruning takes every reshape for a flattening; several in a row grow without end."""
    from torch_pruning.dependency.index_mapping import _FlattenIndexMapping as Mapping

    followed = Mapping.__call__

    def bounded(self: Any, places: list[Any]) -> Any:
        if not self.reverse and len(places) * self._stride > _MOST_PLACES:
            raise _TooManyError
        return followed(self, places)

    Mapping.__call__ = bounded
    try:
        yield
    finally:
        Mapping.__call__ = followed


class _TooManyError(Exception):
    """More places than any layer has."""


def _macs(shape: Shape) -> Callable[[nn.Module], int]:
    return lambda model: sum(count_macs(model, shape).values())
