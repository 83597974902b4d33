"""A chain as a network: the operations of a candidate, with the tensors of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from engine.importing.chains.activations import ACTIVATIONS, NONE
from engine.importing.chains.geometry import Size, Window
from engine.importing.chains.reading import Part, State
from engine.importing.outputs import TwoClasses


@dataclass(frozen=True)
class Convolve:
    """A convolution."""

    part: Part
    groups: int
    stride: int
    padding: Size


@dataclass(frozen=True)
class Multiply:
    """A linear layer."""

    part: Part


@dataclass(frozen=True)
class Normalise:
    """BatchNorm; ``flat`` says that its inputs are rows of numbers."""

    part: Part
    flat: bool


@dataclass(frozen=True)
class Activate:
    """An activation by its id, or one with a tensor of its own."""

    id: str
    part: Part | None = None


@dataclass(frozen=True)
class Pool:
    """Pooling, of the largest or of the mean."""

    largest: bool
    window: Window


@dataclass(frozen=True)
class Reduce:
    """Pooling to a number of rows and columns."""

    largest: bool
    side: Size


@dataclass(frozen=True)
class Flatten:
    """Maps as rows of numbers: channel by channel, or pixel by pixel."""

    by_pixel: bool = False


Operation = Convolve | Multiply | Normalise | Activate | Pool | Reduce | Flatten


class ByPixel(nn.Module):
    """(N, C, H, W) maps to (N, H W C) rows, as networks of other programs flatten them."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Rows of numbers."""
        return maps.permute(0, 2, 3, 1).flatten(1)


class Workshop:
    """Networks of the tensors of one state dict; they share them and, in eval mode, their layers.

    Args:
        state: the tensors under the names of the file.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._made: dict[Operation, nn.Module] = {}

    def network(self, operations: Sequence[Operation]) -> nn.Module:
        """From (N, C, H, W) images to (N, classes) logits, in eval mode."""
        for one in operations:
            if one not in self._made:
                self._made[one] = _module(one, self._state)
        return _whole(operations, [self._made[one] for one in operations])


def build(operations: Sequence[Operation], state: State) -> nn.Module:
    """A network by itself, in eval mode; only its tensors are those of the state dict."""
    return _whole(operations, [_module(one, state) for one in operations])


def _whole(operations: Sequence[Operation], modules: Sequence[nn.Module]) -> nn.Module:
    """Of one output, two classes are made."""
    network = nn.Sequential(*modules)
    outputs = next(one.part.size[0] for one in reversed(operations)
                   if isinstance(one, Convolve | Multiply))  # fmt: skip
    whole = network if outputs > 1 else TwoClasses(network, probabilities=False)
    return whole.eval()


def _module(operation: Operation, state: State) -> nn.Module:
    match operation:
        case Activate(id, None):
            return ACTIVATIONS[id].make()
        case Pool(largest, window):
            kind = nn.MaxPool2d if largest else nn.AvgPool2d
            return kind(window.side, window.stride, window.padding)
        case Reduce(largest, side):
            return nn.AdaptiveMaxPool2d(side) if largest else nn.AdaptiveAvgPool2d(side)
        case Flatten(by_pixel):
            return ByPixel() if by_pixel else nn.Flatten()
        case _:
            assert operation.part is not None
            return _loaded(operation, operation.part, state)


def _loaded(operation: Operation, part: Part, state: State) -> nn.Module:
    """A layer with the tensors of the file; nothing is copied."""
    prefix = f"{part.name}." if part.name else ""
    tensors = {key.removeprefix(prefix): one for key, one in state.items()
               if key.rpartition(".")[0] == part.name}  # fmt: skip
    with torch.device("meta"):
        module = _layer(operation, part, "weight" in tensors, "bias" in tensors)
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        tensors.setdefault("num_batches_tracked", torch.tensor(0))
    module.load_state_dict(tensors, assign=True)
    return module


def _layer(operation: Operation, part: Part, weight: bool, bias: bool) -> nn.Module:
    match operation:
        case Convolve(_, groups, stride, padding):
            outputs, inputs, rows, columns = part.size
            return nn.Conv2d(
                inputs * groups,
                outputs,
                (rows, columns),
                stride,
                padding,
                groups=groups,
                bias=bias,
            )
        case Normalise(_, flat):
            kind = nn.BatchNorm1d if flat else nn.BatchNorm2d
            return kind(part.size[0], affine=weight)
        case Activate():
            return nn.PReLU(part.size[0])
        case _:
            return nn.Linear(part.size[1], part.size[0], bias=bias)


def is_trivial(operation: Operation) -> bool:
    """Whether it does nothing."""
    return isinstance(operation, Activate) and operation.id == NONE
