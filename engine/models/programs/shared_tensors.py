"""Tensors that an exported graph uses in several places: one module each, or none.

Training and pruning would otherwise untie what the user's network shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import fx

from engine.models.programs.layers import attribute

aten = torch.ops.aten

CONVOLUTIONS = {aten.conv2d.default, aten.conv2d.padding, aten.convolution.default}
_ROWS = {aten.linear.default: 3, **dict.fromkeys(CONVOLUTIONS, 3), aten.batch_norm.default: 5}
"""Operators that may become a module, and at which argument their tensors end."""


@dataclass(frozen=True)
class SharedCall:
    """How a call becomes the call of a module.

    Attributes:
        key: calls of equal keys are calls of one module.
        bias: is added behind the module, as other layers have it too or the same weight stands
            beside another one; None where the module has its bias itself.
    """

    key: tuple[object, ...]
    bias: fx.Node | None = None


@dataclass(frozen=True)
class Sharing:
    """How the calls of a graph share their tensors.

    Attributes:
        parts: the calls that become modules, as far as their tensors are concerned.
        mixed: names of the weights that stay bare, as they are used in different ways.
        columns: biases that are added to nothing but the pixels of convolutions.
    """

    parts: dict[fx.Node, SharedCall]
    mixed: tuple[str, ...]
    columns: frozenset[fx.Node]

    def allows(self, call: fx.Node) -> bool:
        """Whether a call can become that of a module."""
        return call in self.parts or call.target not in _ROWS


def unite(module: fx.GraphModule) -> None:
    """Leave one node for each tensor, under whatever names it is known; in place."""
    first: dict[tuple[object, ...], fx.Node] = {}
    for node in module.graph.find_nodes(op="get_attr"):
        value = attribute(module, node)
        if isinstance(value, torch.Tensor) and value.numel():
            place = value.data_ptr(), value.dtype, tuple(value.shape), value.stride()
            same = first.setdefault(place, node)
            if same is not node:
                node.replace_all_uses_with(same)


def sharing(module: fx.GraphModule) -> Sharing:
    """Which calls become modules, and of which.

    A tensor is that of one module if all that use it make the same call. A weight in equal
    calls with different biases is that of one module without. What is used otherwise stays bare.

    Args:
        module: after ``unite``.
    """
    found: dict[fx.Node, SharedCall] = {}
    mixed: dict[str, None] = {}
    for node in module.graph.nodes:
        if node.op != "call_function" or node.target not in _ROWS:
            continue
        tensors = list(_tensors(node))
        if all(_call(user) == _call(node) for one in tensors for user in _users(one)):
            found[node] = SharedCall(_call(node))
        elif node.target is aten.batch_norm.default:
            continue
        elif tensors and all(_product(user) == _product(node) for user in _users(tensors[0])):
            bias = node.args[2] if len(node.args) > 2 else None
            found[node] = SharedCall(_product(node), bias if isinstance(bias, fx.Node) else None)
        elif tensors and tensors[0] is node.args[1]:
            mixed[str(tensors[0].target)] = None
    apart = {part.bias for part in found.values() if part.bias is not None}
    columns = {
        bias
        for bias in apart
        if all(
            user.target in CONVOLUTIONS and user in found and found[user].bias is bias
            for user in _users(bias)
        )
    }
    return Sharing(found, tuple(mixed), frozenset(columns))


def _tensors(node: fx.Node) -> Iterator[fx.Node]:
    for argument in node.args[1 : _ROWS[node.target]]:  # type: ignore[index]
        if isinstance(argument, fx.Node) and argument.op == "get_attr":
            yield argument


def _users(tensor: fx.Node) -> list[fx.Node]:
    """The calls that read a tensor and whose results are used."""
    return [node for node in tensor.users if node.users]


def _call(node: fx.Node) -> tuple[object, ...]:
    """All of a call but what it is applied to."""
    return (node.target, *node.args[1:3], repr(node.args[3:]), repr(node.kwargs))


def _product(node: fx.Node) -> tuple[object, ...]:
    """All of a convolution or linear call but what it is applied to and its bias."""
    return (node.target, node.args[1:2], repr(node.args[3:]), repr(node.kwargs))
