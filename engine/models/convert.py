"""From the graph of an exported program to modules that compression can work on.

An exported graph calls ``aten`` operators on bare parameters. Convolutions, linear layers,
BatchNorm and ReLU become the modules that stand for the same call, so that masks and quantisers
can hang on them; the rest stays as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from engine.errors import ModelError

aten = torch.ops.aten

_WITH_WEIGHTS = {
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv2d.padding,
    aten.convolution.default,
    aten.linear.default,
    aten.addmm.default,
    aten.mm.default,
    aten.matmul.default,
    aten.bmm.default,
    aten.einsum.default,
    aten.scaled_dot_product_attention.default,
}
_RESHAPES = {
    aten.view.default,
    aten.reshape.default,
    aten.expand.default,
    aten._unsafe_view.default,
}


def as_modules(graph_module: fx.GraphModule, name: str) -> tuple[fx.GraphModule, bool]:
    """Rewrite a graph with one image input and one output.

    Args:
        graph_module: of ``ExportedProgram.module()``.
        name: of the file, for messages.

    Returns:
        The new module, and whether every convolution and linear operator became a module.

    Raises:
        ModelError: other inputs or outputs, or the program was exported in training mode.
    """
    root = nn.Module()
    graph = fx.Graph()
    made: dict[fx.Node, Any] = {}
    complete = True
    image = _only_input(graph_module, name)
    for node in graph_module.graph.nodes:
        if node.op == "call_module" and not node.users:
            continue  # checks of the input
        if node.op == "output":
            graph.output(made[_only_output(node, name)])
        elif node.op == "get_attr":
            made[node] = node
        elif node.op == "call_function" and (module := _module(node, graph_module, name)):
            place = node.name
            root.add_module(place, module)
            made[node] = graph.call_module(place, (made[node.args[0]],))
            made[node].name = place
        else:
            complete &= node.target not in _WITH_WEIGHTS
            made[node] = graph.node_copy(_free_layout(_free_batch(node, image)), lambda one: _given(
                one, made, graph, root, graph_module))  # fmt: skip
    converted = fx.GraphModule(root, graph)
    converted.graph.eliminate_dead_code()
    converted.delete_all_unused_submodules()
    converted.recompile()
    return converted, complete and any(
        isinstance(module, nn.Conv2d | nn.Linear) for module in converted.modules()
    )


def _only_input(module: fx.GraphModule, name: str) -> fx.Node:
    inputs: list[fx.Node] = [one for one in module.graph.nodes if one.op == "placeholder"]
    if len(inputs) != 1:
        raise ModelError(
            f"The exported program {name} takes {len(inputs)} inputs instead of one, the images."
        )
    return inputs[0]


def _only_output(node: fx.Node, name: str) -> fx.Node:
    found = node.args[0]
    if isinstance(found, tuple | list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, fx.Node):
        raise ModelError(
            f"The exported program {name} gives more than one output; logits alone are needed."
        )
    return found


def _given(
    node: fx.Node, made: dict[fx.Node, Any], graph: fx.Graph, root: nn.Module, old: fx.GraphModule
) -> fx.Node:
    """The new node of an old one; a parameter that is still used bare moves along."""
    if node.op != "get_attr" or made[node] is not node:
        found: fx.Node = made[node]
        return found
    flat = str(node.target).replace(".", "_")
    value = _attribute(old, node)
    if isinstance(value, nn.Parameter):
        root.register_parameter(flat, value)
    else:
        root.register_buffer(flat, value)
    first = next(iter(graph.nodes))
    with graph.inserting_before(first):
        made[node] = graph.get_attr(flat)
    return made[node]  # type: ignore[no-any-return]


def _attribute(module: nn.Module, node: fx.Node) -> Any:
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
            found.append(_attribute(module, argument))
        else:
            return None
    return found


def _argument(node: fx.Node, position: int, default: Any) -> Any:
    return node.args[position] if position < len(node.args) else default


def _module(node: fx.Node, module: fx.GraphModule, name: str) -> nn.Module | None:
    """The module that stands for a call, None if there is none."""
    target = node.target
    if node.kwargs:
        return None
    if target in (aten.conv2d.default, aten.conv2d.padding, aten.convolution.default):
        return _convolution(node, module)
    if target is aten.linear.default:
        return _linear(node, module)
    if target is aten.batch_norm.default:
        return _batch_norm(node, module, name)
    if target is aten._native_batch_norm_legit_no_training.default:
        return None
    if target in (aten.dropout.default, aten.dropout_.default, aten.feature_dropout.default):
        if node.args[2]:
            raise _training(name)
        return nn.Identity()
    once = isinstance(node.args[0], fx.Node) and len(node.args[0].users) == 1 if node.args else 0
    if target is aten.relu.default or (target is aten.relu_.default and once):
        return nn.ReLU()
    return None


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
    if node.args[5]:
        raise _training(name)
    tensors = _tensors(node, module, range(1, 5))
    if tensors is None or tensors[2] is None or tensors[3] is None:
        return None
    weight, bias, mean, variance = tensors
    if (weight is None) != (bias is None):
        return None
    layer = nn.BatchNorm2d(len(mean), eps=float(node.args[7]), affine=weight is not None)  # type: ignore[arg-type]
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)
    value = node.args[0].meta.get("val") if isinstance(node.args[0], fx.Node) else None
    if value is not None and value.dim() != 4:
        return None
    return _filled(layer, weight=weight, bias=bias)


def _filled(layer: nn.Module, **tensors: Any) -> nn.Module:
    for name, value in tensors.items():
        if value is not None:
            setattr(layer, name, nn.Parameter(value.detach().clone()))
    return layer.eval()


def _free_batch(node: fx.Node, image: fx.Node) -> fx.Node:
    """A reshape to a fixed number of images, made one to any number.

    A program that was exported without ``dynamic_shapes`` has the number of its example inputs
    written into its reshapes.
    """
    if node.op != "call_function" or node.target not in _RESHAPES:
        return node
    value, before = node.meta.get("val"), node.args[0]
    batch = image.meta["val"].shape[0] if "val" in image.meta else None
    if value is None or not isinstance(before, fx.Node) or not isinstance(batch, int):
        return node
    source = before.meta.get("val")
    if source is None or source.shape[0] != batch or value.shape[0] != batch:
        return node
    if all(isinstance(size, int) for size in value.shape):
        node.args = (before, [-1, *value.shape[1:]], *node.args[2:])
    return node


def _free_layout(node: fx.Node) -> fx.Node:
    """A reshape for any memory layout; ``view`` refuses channels-last, in which views lie."""
    if node.target in (aten.view.default, aten._unsafe_view.default):
        node.target = aten.reshape.default
    return node


def _training(name: str) -> ModelError:
    return ModelError(
        f"The exported program {name} was exported in training mode.",
        "Call eval() on the network and export it again.",
    )
