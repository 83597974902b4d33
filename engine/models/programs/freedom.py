"""Takes out of an exported graph what held for the example inputs alone.

An export writes down how many images there were, the device they were on and, in reshapes, how
many channels a layer has. Any number of images, any device and layers that lose channels need
each of them open.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

_VIEWS = (aten.view.default, aten.reshape.default, aten._unsafe_view.default)
_TOKENS = (aten.linear.default, aten.matmul.default, aten.layer_norm.default)
"""What works on the last dimension."""


def free(graph: fx.Graph, image: fx.Node) -> None:
    """Rewrite a graph in place; on its example inputs it computes the same.

    Args:
        graph: of an exported program.
        image: its one input.
    """
    _free_device(graph, image)
    sizes = _Sizes(graph, image)
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in _VIEWS:
            # For any memory layout; ``view`` refuses channels-last, in which views lie.
            node.target = aten.reshape.default
            sizes.free_reshape(node)
        elif node.target is aten.expand.default:
            sizes.free_expansion(node)


def _free_device(graph: fx.Graph, image: fx.Node) -> None:
    """Tensors are made where the image is; that it is where it was before is not asked."""
    for node in list(graph.nodes):
        if node.target is aten._assert_tensor_metadata.default:
            graph.erase_node(node)
    named = [one for one in graph.nodes if _devices(one)]
    if not named:
        return
    with graph.inserting_after(image):
        place = graph.call_function(getattr, (image, "device"))

    def follow(value: Any) -> Any:
        return place if isinstance(value, torch.device) else value

    for node in named:
        node.args = fx.node.map_aggregate(node.args, follow)
        node.kwargs = fx.node.map_aggregate(node.kwargs, follow)


def _devices(node: fx.Node) -> list[torch.device]:
    found: list[torch.device] = []

    def note(value: Any) -> Any:
        if isinstance(value, torch.device):
            found.append(value)
        return value

    fx.node.map_aggregate((node.args, node.kwargs), note)
    return found


class _Sizes:
    """Opens reshapes, from the first to the last; knows which dimension holds the channels."""

    def __init__(self, graph: fx.Graph, image: fx.Node) -> None:
        self._graph, self._image = graph, image
        self._batch = image.meta["val"].shape[0] if "val" in image.meta else None
        self._count: fx.Node | None = None
        self._channels: dict[fx.Node, int] = {}

    def free_reshape(self, node: fx.Node) -> None:
        """Images as many as there are, and -1 in the place of the channels."""
        before, after = _shape(node.args[0]), _shape(node)
        if not before or not after or not self._per_image(before, after):
            return
        groups = _groups(before[1:], after[1:])
        channel = self._channel(node.args[0], len(before))
        sizes: list[Any] = [self._images(), *after[1:]]
        for old, new in groups:
            if channel - 1 in old and new:
                self._channels[node] = new[min(1, len(new) - 1)] + 1
                sizes[self._channels[node]] = -1
        node.args = (node.args[0], sizes, *node.args[2:])

    def free_expansion(self, node: fx.Node) -> None:
        """An expansion to a fixed number of images, made one to any number."""
        before, after = _shape(node.args[0]), _shape(node)
        if before and after and isinstance(self._batch, int) and self._per_image(before, after):
            node.args = (node.args[0], [-1, *after[1:]], *node.args[2:])

    def _per_image(self, before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
        """Whether both shapes begin with the number of images, and nothing else is open."""
        first = str(self._batch) == str(before[0]) == str(after[0])
        return first and all(isinstance(one, int) for one in (*before[1:], *after[1:]))

    def _images(self) -> fx.Node:
        if self._count is None:
            with self._graph.inserting_after(self._image):
                self._count = self._graph.call_function(aten.sym_size.int, (self._image, 0))
        return self._count

    def _channel(self, node: Any, dimensions: int) -> int:
        """The dimension of the channels: the second, or where transposing and tokens put it."""
        if node in self._channels:
            return self._channels[node]
        source = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if node.target in _TOKENS:
            return dimensions - 1
        if source is None or len(_shape(source)) != dimensions:
            return 1
        before = self._channel(source, dimensions)
        if node.target is aten.permute.default:
            order = [one % dimensions for one in node.args[1]]
            return order.index(before)
        if node.target is aten.transpose.int:
            pair = [one % dimensions for one in node.args[1:3]]
            return pair[1 - pair.index(before)] if before in pair else before
        return before


def _shape(node: Any) -> tuple[Any, ...]:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def _groups(before: tuple[int, ...], after: tuple[int, ...]) -> list[tuple[range, range]]:
    """Which dimensions of a reshape become which: the finest split of both into equal products."""
    found: list[tuple[range, range]] = []
    i = j = 0
    while i < len(before) and j < len(after):
        first, second, old, new = i, j, before[i], after[j]
        i, j = i + 1, j + 1
        while old != new and (i < len(before) if old < new else j < len(after)):
            if old < new:
                old, i = operator.mul(old, before[i]), i + 1
            else:
                new, j = operator.mul(new, after[j]), j + 1
        found.append((range(first, i), range(second, j)))
    return found
