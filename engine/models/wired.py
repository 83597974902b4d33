"""Networks from their wiring (``engine.catalog.models.wiring``)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from engine.catalog.models.wiring import IMAGES, Node, Wiring
from engine.errors import ModelError
from engine.models.architectures.pool import GlobalAveragePool

Make = Callable[..., nn.Module]


class PadChannels(nn.Module):
    """Zeros for channels that are new, ``before`` and ``behind`` those that are there."""

    def __init__(self, before: int, behind: int) -> None:
        super().__init__()
        self.before, self.behind = before, behind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, before + C + behind, H, W)."""
        return F.pad(x, (0, 0, 0, 0, self.before, self.behind))


class EverySecond(nn.Module):
    """Every second row and column, from the first on."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C, H/2, W/2), rounded up."""
        return x[:, :, ::2, ::2]


class Shuffle(nn.Module):
    """Channels of ``groups`` in turn (Zhang 2018, arXiv 1707.01083)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to the same shape."""
        return F.channel_shuffle(x, self.groups)


class Half(nn.Module):
    """The first or the second half of the channels."""

    def __init__(self, second: bool) -> None:
        super().__init__()
        self.second = second

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C/2, H, W)."""
        return x.chunk(2, dim=1)[int(self.second)]


class AsMaps(nn.Module):
    """Numbers per channel as maps of one pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C) to (N, C, 1, 1)."""
        return x[:, :, None, None]


def _convolution(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    groups: int = 1,
    bias: bool = False,
) -> nn.Module:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)


def _linear(inputs: int, outputs: int, bias: bool = True) -> nn.Module:
    return nn.Linear(inputs, outputs, bias)


def _norm(channels: int, affine: bool = True, eps: float = 1e-5) -> nn.Module:
    return nn.BatchNorm2d(channels, eps, affine=affine)


def _norm1d(channels: int, affine: bool = True, eps: float = 1e-5) -> nn.Module:
    return nn.BatchNorm1d(channels, eps, affine=affine)


def _max_pool(kernel: int, stride: int = 0, padding: int = 0, ceil: bool = False) -> nn.Module:
    return nn.MaxPool2d(kernel, stride or kernel, padding, ceil_mode=ceil)


def _average_pool(kernel: int, stride: int = 0, padding: int = 0) -> nn.Module:
    return nn.AvgPool2d(kernel, stride or kernel, padding)


_MODULES: dict[str, Make] = {
    "convolution": _convolution,
    "linear": _linear,
    "norm": _norm,
    "norm1d": _norm1d,
    "group-norm": lambda channels, groups, eps=1e-5: nn.GroupNorm(groups, channels, eps),
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky-relu": lambda slope=0.01: nn.LeakyReLU(slope),
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hard-swish": nn.Hardswish,
    "sigmoid": nn.Sigmoid,
    "hard-sigmoid": nn.Hardsigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "max-pool": _max_pool,
    "average-pool": _average_pool,
    "mean": GlobalAveragePool,
    "adaptive-mean": lambda side=1: nn.AdaptiveAvgPool2d(side),
    "largest": lambda: nn.AdaptiveMaxPool2d(1),
    "pad-channels": PadChannels,
    "every-second": EverySecond,
    "flatten": nn.Flatten,
    "as-maps": AsMaps,
    "dropout": lambda share=0.5: nn.Dropout(share),
    "shuffle": Shuffle,
    "first-half": lambda: Half(False),
    "second-half": lambda: Half(True),
}
_BETWEEN = {"add": operator.add, "multiply": operator.mul}


def wire(wiring: Wiring) -> fx.GraphModule:
    """Build a network with fresh weights.

    Returns:
        From (N, C, H, W) images to logits, in training mode. Modules have the names of nodes and
        stand in their order.

    Raises:
        ModelError: a node has options that its layer does not take, or two names collide.
    """
    root, graph = nn.Module(), fx.Graph()
    made = {IMAGES: graph.placeholder(IMAGES)}
    last = made[IMAGES]
    for node in wiring.nodes:
        reads = tuple(made[one] for one in node.after)
        if node.op == "concatenate":
            last = graph.call_function(torch.cat, (list(reads), 1))
        elif node.op in _BETWEEN:
            last = graph.call_function(_BETWEEN[node.op], reads)
        else:
            _place(root, node)
            last = graph.call_module(node.name, reads)
        made[node.name] = last
    graph.output(last)
    return fx.GraphModule(root, graph, "Wired")


def _place(root: nn.Module, node: Node) -> None:
    """Make the module of a node and put it at its name."""
    options: dict[str, Any] = node.options
    *path, name = node.name.split(".")
    owner = root
    try:
        module = _MODULES[node.op](**options)
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        owner.add_module(name, module)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"The layer {node.name} ({node.op}) of the model cannot be built: {str(error)[:160]}.",
            "Its card was changed or is damaged: restore it, or import the model again.",
        ) from None
