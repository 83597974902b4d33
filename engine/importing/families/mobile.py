"""MobileNets (Howard 2017, arXiv 1704.04861; Sandler 2018, 1801.04381) for small images.

Blocks of depthwise convolutions in the names of kuangliu (``layers.3.conv1``), torchvision
(``features.3.conv.0.0``) and RepDistiller (``blocks.1.0.conv.3``), in any width. Where the sides
are halved is told by the place of a block, as in the papers; small images keep their sides in the
stem, and longer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.catalog.models.wiring import Op, Wiring
from engine.importing.families.blocks import Block, in_order
from engine.importing.families.layers import Layer, numbered
from engine.importing.families.writer import Unfit, Writer

_PLACE = re.compile(
    r"(?P<block>(?:layers|features|blocks)\.\d+(?P<nested>\.\d+(?=\.[a-z]))?)\.(?P<part>.+)"
)
_SEPARABLE = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
_INVERTED = (1, 1, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)
_LARGE = (1, 2, *_INVERTED[2:])
"""Strides of the blocks: of the first MobileNet, of the second for small and for large images."""


@dataclass(frozen=True)
class Mobile:
    """A MobileNet as read from its tensors.

    Attributes:
        stem: convolution and norm.
        blocks: all of them.
        last: convolution and norm behind the blocks, or nothing.
        head: the linear layer.
        nested: whether blocks stand in lists of stages.
    """

    entry: tuple[Layer, Layer]
    blocks: tuple[Block, ...]
    last: tuple[Layer, ...]
    head: Layer
    nested: bool

    @property
    def stem(self) -> Layer:
        """The first convolution."""
        return self.entry[0]

    @property
    def inverted(self) -> bool:
        """Whether it is of the second kind."""
        return bool(self.last)

    @property
    def label(self) -> str:
        """In words, such as ``MobileNetV2 (17 blocks, 32 to 320 channels)``."""
        kind = "MobileNetV2" if self.inverted else "MobileNet"
        widths = self.stem.size[0], self.blocks[-1].convolutions[-1].size[0]
        return f"{kind} ({len(self.blocks)} blocks, {widths[0]} to {widths[1]} channels)"

    def wirings(self) -> list[tuple[str, Wiring]]:
        """That for small images, and that for large ones where names allow it.

        Raises:
            Unfit: some layer reads other channels than are there.
        """
        if not self.inverted:
            return [("", self._wiring(1, _SEPARABLE))]
        if self.nested:
            return [
                ("", self._wiring(2, _INVERTED)),
                ("a stem of stride 1", self._wiring(1, _INVERTED)),
                ("ReLU6", self._wiring(2, _INVERTED, "relu6")),
            ]
        if not self._vision:
            return [("", self._wiring(1, _INVERTED))]
        return [
            ("", self._wiring(1, _INVERTED, "relu6")),
            ("strides for images of 224x224", self._wiring(2, _LARGE, "relu6")),
            ("a stem of stride 2", self._wiring(2, _INVERTED, "relu6")),
        ]

    @property
    def _vision(self) -> bool:
        return self.head.name.startswith("classifier")

    def _wiring(self, stride: int, strides: Sequence[int], act: Op = "relu") -> Wiring:
        writer = Writer(self.stem.size[1])
        writer.layer(self.entry[0], stride=stride)
        writer.layer(self.entry[1])
        writer.put("stem_act", act)
        for block, step in zip(self.blocks, strides, strict=True):
            self._write(writer, block, step, act)
        for layer in self.last:
            writer.layer(layer)
        if self.last:
            writer.put("last_act", act)
        writer.head([self.head], "adaptive-mean" if self._vision else "mean")
        return writer.wiring()

    def _write(self, writer: Writer, block: Block, stride: int, act: Op) -> None:
        inputs, width = writer.at, writer.width
        for place, layer in enumerate(block.body):
            deep = layer.kind == "convolution" and layer.size[1] == 1 and layer.kernel > 1
            writer.layer(layer, stride=stride if deep else 1)
            ends = layer is block.body[-1]
            if layer.kind == "norm" and not (ends and self.inverted):
                writer.put(f"{block.name}.act_{place}", act)
        out, outputs = writer.at, writer.width
        if not self.inverted or stride > 1 or (width != outputs and not block.shortcut):
            return
        writer.go(inputs, width)
        for layer in block.shortcut:
            writer.layer(layer)
        writer.put(f"{block.name}.sum", "add", out, writer.at)
        writer.go(f"{block.name}.sum", outputs)


def read_mobile(layers: list[Layer]) -> Mobile:
    """Sort layers into a MobileNet.

    Raises:
        Unfit: they are none.
    """
    groups: dict[str, list[Layer]] = {}
    around = []
    nested = False
    for layer in layers:
        found = _PLACE.fullmatch(layer.name)
        if found:
            nested |= found["nested"] is not None
            groups.setdefault(found["block"], []).append(layer)
        else:
            around.append(layer)
    named = [(name, groups[name]) for name in sorted(groups, key=numbered)]
    # torchvision keeps stem and last convolution in the same list.
    ends = [name for name, inside in named if len(inside) == 2]
    around += [layer for name in ends for layer in groups[name]]
    around.sort(key=lambda layer: (layer.kind != "convolution", numbered(layer.name)))
    (blocks,) = in_order([[one for one in named if one[0] not in ends]])
    if not blocks or not all(any(map(_deep, block.convolutions)) for block in blocks):
        raise Unfit
    convolutions = [one for one in around if one.kind == "convolution"]
    norms = [one for one in around if one.kind == "norm"]
    linear = [one for one in around if one.kind == "linear"]
    count = {len(_SEPARABLE): 1, len(_INVERTED): 2}.get(len(blocks), 0)
    if (len(convolutions), len(norms), len(linear)) != (count, count, 1):
        raise Unfit
    entry = convolutions[0], norms[0]
    return Mobile(entry, blocks, (*convolutions[1:], *norms[1:]), linear[0], nested)


def _deep(layer: Layer) -> bool:
    return layer.size[1] == 1 and layer.kernel > 1
