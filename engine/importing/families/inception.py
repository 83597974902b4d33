"""GoogLeNets (Szegedy 2014, arXiv 1409.4842) with BatchNorm, for small images.

Blocks of four branches whose outputs are joined, in the names of kuangliu (``a3.b2.3``),
weiaicunzai and torchvision (``inception3a.branch2.1.conv``), in any width. The digit in the name
of a block is its stage; between stages the sides are halved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.catalog.models.wiring import Wiring
from engine.importing.families.layers import Layer, numbered
from engine.importing.families.writer import Unfit, Writer, tail_of

_PLACE = re.compile(
    r"(?P<block>(?:inception_?)?(?P<before>\d?)(?P<letter>[a-h])(?P<behind>\d?))\."
    r"(?:b|branch)(?P<branch>[1-4])\.(?P<part>.+)"
)
_CONVOLUTIONS = ({1}, {2}, {2, 3}, {1})
"""How many a branch may have; the last of them reads maxima of what is around each pixel."""


@dataclass(frozen=True)
class Inception:
    """Four branches that read the same.

    Attributes:
        name: what the names of its layers begin with.
        stage: its digit.
        branches: convolutions, each with its norm behind it.
    """

    name: str
    stage: str
    branches: tuple[tuple[Layer, ...], ...]


@dataclass(frozen=True)
class GoogLeNet:
    """A GoogLeNet as read from its tensors.

    Attributes:
        entry: convolutions and norms before the blocks.
        blocks: all of them.
        layers: the linear layers at its end.
    """

    entry: tuple[Layer, ...]
    blocks: tuple[Inception, ...]
    layers: tuple[Layer, ...]

    @property
    def stem(self) -> Layer:
        """The first convolution."""
        return self.entry[0]

    @property
    def head(self) -> Layer:
        """The last linear layer."""
        return self.layers[-1]

    @property
    def label(self) -> str:
        """In words, such as ``GoogLeNet (9 blocks, 192 to 1024 channels)``."""
        widths = self.stem.size[0], sum(one[-1].size[0] for one in self.blocks[-1].branches)
        return f"GoogLeNet ({len(self.blocks)} blocks, {widths[0]} to {widths[1]} channels)"

    def wirings(self) -> list[tuple[str, Wiring]]:
        """That with a pool behind the stem and that without; the former for a deep stem.

        Raises:
            Unfit: some layer reads other channels than are there.
        """
        pooled = sum(one.kind == "convolution" for one in self.entry) > 1
        other = "no pool behind the stem" if pooled else "a pool behind the stem"
        return [("", self._wiring(pooled)), (other, self._wiring(not pooled))]

    def _wiring(self, pooled: bool) -> Wiring:
        writer = Writer(self.stem.size[1])
        _chain(writer, self.entry)
        stage = "stem" if pooled else self.blocks[0].stage
        for block in self.blocks:
            if block.stage != stage:
                writer.put(f"pool_{stage}", "max-pool", kernel=3, stride=2, padding=1)
            stage = block.stage
            _write(writer, block)
        # That of one convolution averages a square of 8 pixels, the others whatever is left.
        narrow = len(self.entry) <= 2 and not self.blocks[0].name.startswith("inception")
        writer.head(self.layers, "mean" if narrow else "adaptive-mean")
        return writer.wiring()


def _write(writer: Writer, block: Inception) -> None:
    inputs, width = writer.at, writer.width
    outputs, total = [], 0
    for place, branch in enumerate(block.branches):
        writer.go(inputs, width)
        if place == len(block.branches) - 1:
            writer.put(f"{block.name}.pool", "max-pool", kernel=3, stride=1, padding=1)
        outputs.append(_chain(writer, branch))
        total += writer.width
    writer.put(f"{block.name}.join", "concatenate", *outputs)
    writer.width = total


def _chain(writer: Writer, layers: tuple[Layer, ...]) -> str:
    """Layers in a row with ReLU behind each convolution and its norm."""
    for place, layer in enumerate(layers):
        writer.layer(layer)
        if place + 1 == len(layers) or layers[place + 1].kind == "convolution":
            writer.put(f"{layer.name}_relu", "relu")
    return writer.at


def read_inception(layers: list[Layer]) -> GoogLeNet:
    """Sort layers into a GoogLeNet.

    Raises:
        Unfit: they are none.
    """
    groups: dict[tuple[str, str, str], dict[str, list[Layer]]] = {}
    around = []
    for layer in layers:
        if found := _PLACE.fullmatch(layer.name):
            key = (found["before"] or found["behind"], found["letter"], found["block"])
            groups.setdefault(key, {}).setdefault(found["branch"], []).append(layer)
        else:
            around.append(layer)
    if not groups:
        raise Unfit
    blocks = tuple(
        Inception(name, stage, tuple(_ordered(inside[one]) for one in sorted(inside)))
        for (stage, _, name), inside in sorted(groups.items())
    )
    for block in blocks:
        _check(block)
    entry, head = tail_of(around)
    ordered = _ordered(entry)
    if not ordered or not _alternates(ordered):
        raise Unfit("its layers before the blocks are not convolutions with a norm behind each")
    return GoogLeNet(ordered, blocks, head)


def _ordered(layers: list[Layer]) -> tuple[Layer, ...]:
    """By the numbers in their names; of two with the same number the convolution first."""

    def place(layer: Layer) -> tuple[list[tuple[int, str]], bool]:
        parts = layer.name.split(".")
        named = parts if parts[-1].isdigit() else parts[:-1]
        return numbered(".".join(named)), layer.kind != "convolution"

    return tuple(sorted(layers, key=place))


def _check(block: Inception) -> None:
    counts = [sum(one.kind == "convolution" for one in branch) for branch in block.branches]
    fits = len(counts) == len(_CONVOLUTIONS) and all(
        count in allowed for count, allowed in zip(counts, _CONVOLUTIONS, strict=True)
    )
    if not fits or not all(map(_alternates, block.branches)):
        raise Unfit(f"{block.name} lacks branches or layers of a block of GoogLeNet")


def _alternates(layers: tuple[Layer, ...]) -> bool:
    """Whether they are convolutions with a norm behind each, or convolutions alone."""
    kinds = "".join(layer.kind[0] for layer in layers)
    return bool(re.fullmatch("(cn)+|c+", kinds))
