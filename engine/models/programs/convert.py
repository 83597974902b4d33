"""From the graph of an exported program to modules that compression can work on.

An exported graph calls ``aten`` operators on bare parameters. Convolutions, linear layers,
BatchNorm, dropout and ReLU become the modules that stand for the same call, so that masks and
quantisers can hang on them and training treats them as it would have treated the user's own;
the rest stays as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from engine.errors import ModelError
from engine.models.programs.freedom import free
from engine.models.programs.layers import attribute, layer_of
from engine.models.programs.precision import single
from engine.models.programs.shared_tensors import CONVOLUTIONS, SharedCall, Sharing, sharing, unite

aten = torch.ops.aten


def as_modules(graph_module: fx.GraphModule, name: str) -> fx.GraphModule:
    """Rewrite a graph with one image input and one output.

    Args:
        graph_module: of ``ExportedProgram.module()``.
        name: of the file, for messages.

    Returns:
        The new module. Calls with the same tensors call one module; ``meta["mixed"]`` names the
        weights that are used in different ways, and so lie in none, ``meta["dtype"]`` the type
        that was not float32.

    Raises:
        ModelError: other inputs or outputs, or the program was exported in training mode.
    """
    root = nn.Module()
    graph = fx.Graph()
    made: dict[fx.Node, Any] = {}
    image = _only_input(graph_module, name)
    dtype = single(graph_module, image)
    free(graph_module.graph, image)
    unite(graph_module)
    shared = sharing(graph_module)
    places: dict[object, str] = {}

    def given(one: fx.Node) -> fx.Node:
        return _given(one, made, graph, root, graph_module, shared)

    for node in graph_module.graph.nodes:
        if node.op == "call_module" and not node.users:
            continue  # checks of the input
        if node.op == "output":
            graph.output(made[_only_output(node, name)])
        elif node.op == "get_attr":
            made[node] = node
        elif (module := _layer(node, graph_module, name, shared)) is not None:
            part = shared.parts.get(node, SharedCall((node,)))
            place = places.setdefault(part.key, node.name)
            if place == node.name:
                root.add_module(place, module)
            made[node] = graph.call_module(place, (made[node.args[0]],))
            made[node].name = node.name
            if part.bias is not None:
                made[node] = _plus(graph, made[node], given(part.bias), node, shared)
        else:
            made[node] = graph.node_copy(node, given)
    converted = fx.GraphModule(root, graph)
    converted.graph.eliminate_dead_code()
    converted.delete_all_unused_submodules()
    converted.recompile()
    converted.meta |= {"mixed": shared.mixed, "dtype": dtype}
    if not any(parameter.requires_grad for parameter in converted.parameters()):
        converted.requires_grad_(True)  # frozen for its use, not to keep a part from learning
    return converted


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
            f"The exported program {name} gives more than one output; logits alone are needed.",
            "Export a network whose forward ends in: return net(images)[NUMBER], or its KEY.",
        )
    return found


def _layer(node: fx.Node, module: fx.GraphModule, name: str, shared: Sharing) -> nn.Module | None:
    """The module of a call; without its bias where that stands apart."""
    if node.op != "call_function":
        return None
    layer = layer_of(node, module, name)
    if layer is None or not shared.allows(node):
        return None
    if node in shared.parts and shared.parts[node].bias is not None:
        layer.register_parameter("bias", None)
    return layer


def _plus(
    graph: fx.Graph, value: fx.Node, bias: fx.Node, call: fx.Node, shared: Sharing
) -> fx.Node:
    """What a layer without bias gives, and a bias that belongs to no layer."""
    if call.target in CONVOLUTIONS and shared.parts[call].bias not in shared.columns:
        bias = graph.call_function(aten.reshape.default, (bias, [-1, 1, 1]))
    return graph.call_function(aten.add.Tensor, (value, bias))


def _given(
    node: fx.Node,
    made: dict[fx.Node, Any],
    graph: fx.Graph,
    root: nn.Module,
    old: fx.GraphModule,
    shared: Sharing,
) -> fx.Node:
    """The new node of an old one; a parameter that is still used bare moves along."""
    if node.op != "get_attr" or made[node] is not node:
        found: fx.Node = made[node]
        return found
    flat = str(node.target).replace(".", "_")
    value = attribute(old, node)
    if node in shared.columns:
        value = nn.Parameter(value.detach().reshape(-1, 1, 1), value.requires_grad)
    if isinstance(value, nn.Parameter):
        root.register_parameter(flat, value)
    else:
        root.register_buffer(flat, value)
    first = next(iter(graph.nodes))
    with graph.inserting_before(first):
        made[node] = graph.get_attr(flat)
    return made[node]  # type: ignore[no-any-return]
