"""Writing a wiring, node by node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from engine.catalog.models.wiring import IMAGES, Node, Op, Wiring
from engine.importing.families.layers import Layer, numbered


class Unfit(Exception):
    """The layers are not wired as this family is; says why if they come near it."""


class Writer:
    """Nodes in a row; each reads the one before it unless told otherwise.

    Attributes:
        at: the node written last.
        width: channels of its output.
    """

    def __init__(self, channels: int) -> None:
        self._nodes: list[Node] = []
        self.at, self.width = IMAGES, channels

    def put(self, name: str, op: Op, *after: str, **options: Any) -> str:
        """Write an operation that keeps the channels.

        Raises:
            Unfit: its name or a size is one that no wiring holds.
        """
        try:
            node = Node(name=name, op=op, after=after or (self.at,), options=options)
        except ValidationError as error:
            raise Unfit(f"{name} {error.errors()[0]['msg']}") from None
        self._nodes.append(node)
        self.at = name
        return name

    def go(self, at: str, width: int) -> None:
        """Continue from another node."""
        self.at, self.width = at, width

    def layer(self, layer: Layer, stride: int = 1, flat: bool = False) -> str:
        """Write a layer of the file.

        Args:
            layer: a convolution keeps the sides, but for its stride.
            stride: of a convolution.
            flat: whether a norm reads rows of numbers instead of maps.

        Raises:
            Unfit: it reads other channels than are there.
        """
        if layer.kind == "norm":
            if layer.size[0] != self.width:
                raise Unfit(f"{layer.name} has {layer.size[0]} channels instead of {self.width}")
            if not layer.statistics:
                return self.put(layer.name, "group-norm", channels=self.width, groups=1)
            op: Op = "norm1d" if flat else "norm"
            return self.put(layer.name, op, channels=self.width, **_unless(layer.bias))
        outputs, inputs = layer.size[:2]
        groups = self.width // inputs if layer.kind == "convolution" else 1
        if inputs * groups != self.width or outputs % groups:
            raise Unfit(f"{layer.name} reads {inputs} channels instead of {self.width}")
        bias = {"bias": layer.bias} if layer.bias != (layer.kind == "linear") else {}
        sizes: dict[str, Any] = {"inputs": self.width, "outputs": outputs, **bias}
        if layer.kind == "convolution":
            shape = {
                "stride": (stride, 1),
                "padding": (layer.kernel // 2, 0),
                "groups": (groups, 1),
            }
            sizes |= {"kernel": layer.kernel}
            sizes |= {key: one for key, (one, usual) in shape.items() if one != usual}
        self.width = outputs
        return self.put(layer.name, layer.kind, **sizes)

    def head(self, layers: Sequence[Layer], pool: Op = "mean") -> None:
        """Means over the pixels, and linear layers with ReLU between them.

        The first of them tells how many means of each channel there are: one of all pixels, or
        some on a square. ``mean`` and ``adaptive-mean`` differ in their last bits, as programs
        do; ``largest`` takes the largest.

        Raises:
            Unfit: the layers do not follow each other.
        """
        side = math.isqrt(max(layers[0].size[-1] // self.width, 1))
        if side > 1:
            self.put("head_pool", "adaptive-mean", side=side)
        else:
            self.put("head_pool", pool)
        self.put("head_flat", "flatten")
        self.width *= side * side
        for place, layer in enumerate(layers):
            self.layer(layer, flat=True)
            if "linear" in [one.kind for one in layers[place + 1 : place + 2]]:
                self.put(f"head_relu_{place}", "relu")

    def wiring(self) -> Wiring:
        """All that was written.

        Raises:
            Unfit: two nodes bear one name.
        """
        try:
            return Wiring(nodes=tuple(self._nodes))
        except ValidationError as error:
            raise Unfit(error.errors()[0]["msg"]) from None


def tail_of(layers: Sequence[Layer]) -> tuple[list[Layer], tuple[Layer, ...]]:
    """Layers around the blocks of a network, and its head: linear layers and norms of their rows.

    Raises:
        Unfit: there is no linear layer.
    """
    linear = sorted((one for one in layers if one.kind == "linear"), key=_by_number)
    if not linear:
        raise Unfit("it lacks a linear layer at its end")
    # A norm of rows stands beside the linear layer that gives them, in the same list.
    lists = {one.name.rpartition(".")[0] for one in linear} - {""}
    norms = [one for one in layers if one.kind == "norm" and one.name.rpartition(".")[0] in lists]
    head = sorted([*linear, *norms], key=_by_number)
    return [one for one in layers if one not in head], tuple(head)


def _by_number(layer: Layer) -> list[tuple[int, str]]:
    return numbered(layer.name)


def _unless(affine: bool) -> dict[str, bool]:
    return {} if affine else {"affine": False}
