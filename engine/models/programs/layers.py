"""The module that stands for a call of an exported graph, trained as the user's own would be."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from engine.errors import ModelError

aten = torch.ops.aten

_CONVOLUTIONS = (aten.conv2d.default, aten.conv2d.padding, aten.convolution.default)
_BATCH_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_BY_CHANNEL = {3: nn.Dropout1d, 4: nn.Dropout2d, 5: nn.Dropout3d}
"""By the dimensions of what they are given."""

_DROPOUTS: dict[Any, type[nn.Module]] = {
    aten.dropout.default: nn.Dropout,
    aten.dropout_.default: nn.Dropout,
    aten.alpha_dropout.default: nn.AlphaDropout,
    aten.alpha_dropout_.default: nn.AlphaDropout,
    aten.feature_dropout.default: nn.Dropout2d,
    aten.feature_dropout_.default: nn.Dropout2d,
    aten.feature_alpha_dropout.default: nn.FeatureAlphaDropout,
    aten.feature_alpha_dropout_.default: nn.FeatureAlphaDropout,
}


def layer_of(node: fx.Node, module: fx.GraphModule, name: str) -> nn.Module | None:
    """The module that does what a call does, None if there is none.

    BatchNorm keeps its momentum, its statistics and whether it has any; dropout keeps its share
    and acts in training mode alone, as it did in the network that was exported.

    Args:
        node: a call of the graph.
        module: holds the tensors of the program.
        name: of the file, for messages.

    Raises:
        ModelError: the program was exported in training mode.
    """
    target = node.target
    if node.kwargs:
        return None
    if target in _CONVOLUTIONS:
        return _convolution(node, module)
    if target is aten.linear.default:
        return _linear(node, module)
    if target is aten.batch_norm.default:
        return _batch_norm(node, module, name)
    if target in _DROPOUTS:
        return _dropout(node)
    if target in (aten.layer_norm.default, aten.group_norm.default):
        return _channel_norm(node, module)
    once = isinstance(node.args[0], fx.Node) and len(node.args[0].users) == 1 if node.args else 0
    if target is aten.relu.default or (target is aten.relu_.default and once):
        return nn.ReLU()
    return None


def attribute(module: nn.Module, node: fx.Node) -> Any:
    """The tensor that a ``get_attr`` node reads."""
    value: Any = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value


def _tensors(node: fx.Node, module: fx.GraphModule, positions: range) -> list[Any] | None:
    """The tensors an operator is given at these positions; None if one is computed."""
    found: list[Any] = []
    for position in positions:
        argument = node.args[position] if position < len(node.args) else None
        if argument is None:
            found.append(None)
        elif isinstance(argument, fx.Node) and argument.op == "get_attr":
            found.append(attribute(module, argument))
        else:
            return None
    return found


def _argument(node: fx.Node, position: int, default: Any) -> Any:
    return node.args[position] if position < len(node.args) else default


def _dimensions(node: fx.Node) -> int:
    """Of what a call is given first; 0 if the graph does not tell."""
    value = node.args[0].meta.get("val") if isinstance(node.args[0], fx.Node) else None
    return value.dim() if isinstance(value, torch.Tensor) else 0


def _convolution(node: fx.Node, module: fx.GraphModule) -> nn.Module | None:
    tensors = _tensors(node, module, range(1, 3))
    if tensors is None or tensors[0] is None or tensors[0].dim() != 4:
        return None
    if node.target is aten.convolution.default and _argument(node, 6, False):
        return None  # transposed
    shift = 1 if node.target is aten.convolution.default else 0
    weight, bias = tensors
    groups = _argument(node, 6 + 2 * shift, 1)
    padding = _argument(node, 4, 0)
    layer = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=_pair(_argument(node, 3, 1)),
        padding=padding if isinstance(padding, str) else _pair(padding),
        dilation=_pair(_argument(node, 5, 1)),
        groups=groups,
        bias=bias is not None,
    )
    return _filled(layer, weight=weight, bias=bias)


def _pair(value: Any) -> tuple[int, int]:
    sizes = [value] if isinstance(value, int) else list(value)
    return (sizes[0], sizes[-1])


def _linear(node: fx.Node, module: fx.GraphModule) -> nn.Module | None:
    tensors = _tensors(node, module, range(1, 3))
    if tensors is None or tensors[0] is None:
        return None
    weight, bias = tensors
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    return _filled(layer, weight=weight, bias=bias)


def _batch_norm(node: fx.Node, module: fx.GraphModule, name: str) -> nn.Module | None:
    tensors, value = _tensors(node, module, range(1, 5)), node.args[0]
    if tensors is None or not isinstance(value, fx.Node):
        return None
    weight, bias, mean, variance = tensors
    if node.args[5] and mean is not None:
        raise _training(name)
    if (mean is None) != (variance is None) or (
        dimensions := _dimensions(node)
    ) not in _BATCH_NORMS:
        return None
    layer: nn.modules.batchnorm._BatchNorm = _BATCH_NORMS[dimensions](
        value.meta["val"].shape[1],
        eps=float(node.args[7]),  # type: ignore[arg-type]
        momentum=float(node.args[6]) or None,  # type: ignore[arg-type]
        affine=weight is not None or bias is not None,
        track_running_stats=mean is not None,
    )
    for kind, given in (("weight", weight), ("bias", bias)):
        if given is None:
            layer.register_parameter(kind, None)
    if mean is not None:
        layer.running_mean, layer.running_var = mean.detach().clone(), variance.detach().clone()
        _count_on(layer, node, module)
    return _filled(layer, weight=weight, bias=bias)


def _count_on(layer: nn.modules.batchnorm._BatchNorm, node: fx.Node, module: nn.Module) -> None:
    """The batches seen so far, which a mean over all of them (momentum None) goes on from.

    An evaluation does not read that number; it lies beside the running mean.
    """
    mean = node.args[3]
    assert isinstance(mean, fx.Node)
    owner, _, kind = str(mean.target).rpartition(".")
    if kind != "running_mean":
        return
    seen = getattr(module.get_submodule(owner), "num_batches_tracked", None)
    if isinstance(seen, torch.Tensor) and seen.dim() == 0:
        layer.num_batches_tracked = seen.detach().clone()


def _channel_norm(node: fx.Node, module: fx.GraphModule) -> nn.Module | None:
    """LayerNorm or GroupNorm with scale and shift, or with neither."""
    tensors = _tensors(node, module, range(2, 4))
    if tensors is None or (tensors[0] is None) != (tensors[1] is None):
        return None
    weight, bias = tensors
    eps, affine = float(_argument(node, 4, 1e-5)), weight is not None
    if node.target is aten.layer_norm.default:
        sizes: Any = node.args[1]
        return _filled(nn.LayerNorm(list(sizes), eps, affine), weight=weight, bias=bias)
    value, groups = node.args[0], node.args[1]
    if not affine or not isinstance(value, fx.Node):
        return None
    layer = nn.GroupNorm(int(groups), len(weight), eps)  # type: ignore[arg-type]
    return _filled(layer, weight=weight, bias=bias)


def _dropout(node: fx.Node) -> nn.Module | None:
    if node.args[2]:
        return None  # acts in every forward: the network is random, by intent or by mistake
    kind = _DROPOUTS[node.target]
    if kind is nn.Dropout2d:
        kind = _BY_CHANNEL.get(_dimensions(node), nn.Dropout2d)
    return kind(float(node.args[1])).eval()  # type: ignore[arg-type]


def _filled(layer: nn.Module, **tensors: Any) -> nn.Module:
    for name, value in tensors.items():
        if value is not None:
            new = nn.Parameter(value.detach().clone(), getattr(value, "requires_grad", True))
            setattr(layer, name, new)
    return layer.eval()


def _training(name: str) -> ModelError:
    return ModelError(
        f"The exported program {name} was exported in training mode.",
        "Call eval() on the network and export it again.",
    )
