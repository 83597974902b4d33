"""Writing a wiring, node by node."""

from __future__ import annotations

from typing import Any

from engine.catalog.models.wiring import IMAGES, Node, Op, Wiring
from engine.importing.families.layers import Layer


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
        """Write an operation that keeps the channels."""
        node = Node(name=name, op=op, after=after or (self.at,), options=options)
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

    def head(self, layer: Layer, mean: Op = "mean") -> None:
        """The mean over all pixels, and a linear layer.

        ``mean`` and ``adaptive-mean`` differ in their last bits, as programs do.
        """
        self.put("head_pool", mean)
        self.put("head_flat", "flatten")
        self.layer(layer)

    def wiring(self) -> Wiring:
        """All that was written."""
        return Wiring(nodes=tuple(self._nodes))


def _unless(affine: bool) -> dict[str, bool]:
    return {} if affine else {"affine": False}
