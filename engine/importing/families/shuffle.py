"""ShuffleNetV2 (Ma 2018, arXiv 1807.11164) in the names of torchvision, for small images."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.catalog.models.wiring import Wiring
from engine.importing.families.layers import Layer, numbered
from engine.importing.families.writer import Unfit, Writer

_PLACE = re.compile(r"(?P<unit>stage\d\.\d+)\.branch(?P<branch>[12])\.\d+")
_BRANCHES = {"1": "cncn", "2": "cncncn"}
"""Kinds of layers: convolutions and norms."""
_ACTIVE = {"1": (3,), "2": (1, 5)}
"""Norms behind which an activation stands."""


@dataclass(frozen=True)
class Unit:
    """Two branches; the first is empty where half of the channels pass."""

    name: str
    first: tuple[Layer, ...]
    second: tuple[Layer, ...]


@dataclass(frozen=True)
class ShuffleNet:
    """A ShuffleNetV2 as read from its tensors.

    Attributes:
        entry: convolution and norm before the units.
        units: all of them.
        last: convolution and norm behind the units.
        head: the linear layer.
    """

    entry: tuple[Layer, Layer]
    units: tuple[Unit, ...]
    last: tuple[Layer, Layer]
    head: Layer

    @property
    def stem(self) -> Layer:
        """The first convolution."""
        return self.entry[0]

    @property
    def label(self) -> str:
        """In words."""
        widths = self.stem.size[0], self.last[0].size[0]
        return f"ShuffleNetV2 ({len(self.units)} units, {widths[0]} to {widths[1]} channels)"

    def wirings(self) -> list[tuple[str, Wiring]]:
        """That for small images, and that for large ones.

        Raises:
            Unfit: some layer reads other channels than are there.
        """
        large = "strides for images of 224x224"
        return [("", self._wiring(large=False)), (large, self._wiring(large=True))]

    def _wiring(self, large: bool) -> Wiring:
        writer = Writer(self.stem.size[1])
        for layer in self.entry:
            writer.layer(layer, stride=2 if large else 1)
        writer.put("stem_relu", "relu")
        if large:
            writer.put("stem_pool", "max-pool", kernel=3, stride=2, padding=1)
        for unit in self.units:
            _write(writer, unit)
        for layer in self.last:
            writer.layer(layer)
        writer.put("last_relu", "relu")
        writer.head([self.head], "adaptive-mean")
        return writer.wiring()


def _write(writer: Writer, unit: Unit) -> None:
    inputs, width = writer.at, writer.width
    stride = 2 if unit.first else 1
    if unit.first:
        left = _branch(writer, unit, "1", stride)
        width_left = writer.width
        writer.go(inputs, width)
    else:
        left, width_left = writer.put(f"{unit.name}.first", "first-half"), width // 2
        writer.put(f"{unit.name}.second", "second-half", inputs)
        writer.width = width // 2
    right = _branch(writer, unit, "2", stride)
    both = width_left + writer.width
    writer.put(f"{unit.name}.join", "concatenate", left, right)
    writer.put(f"{unit.name}.shuffle", "shuffle", groups=2)
    writer.width = both


def _branch(writer: Writer, unit: Unit, which: str, stride: int) -> str:
    layers = unit.first if which == "1" else unit.second
    for place, layer in enumerate(layers):
        deep = layer.kind == "convolution" and layer.kernel > 1
        writer.layer(layer, stride=stride if deep else 1)
        if place in _ACTIVE[which]:
            writer.put(f"{unit.name}.branch{which}_relu_{place}", "relu")
    return writer.at


def read_shuffle(layers: list[Layer]) -> ShuffleNet:
    """Sort layers into a ShuffleNetV2.

    Raises:
        Unfit: they are none.
    """
    units: dict[str, dict[str, list[Layer]]] = {}
    around = []
    for layer in sorted(layers, key=lambda one: numbered(one.name)):
        found = _PLACE.fullmatch(layer.name)
        if found:
            units.setdefault(found["unit"], {}).setdefault(found["branch"], []).append(layer)
        else:
            around.append(layer)
    kinds = "".join(layer.kind[0] for layer in around)
    branches = [one for unit in units.values() for one in unit.items()]
    if kinds != "cncnl" or not branches or any(_kinds(inside) != _BRANCHES[which]
                                               for which, inside in branches):  # fmt: skip
        raise Unfit
    found_units = tuple(
        Unit(name, tuple(unit.get("1", ())), tuple(unit.get("2", ())))
        for name, unit in units.items()
    )
    entry, last = (around[0], around[1]), (around[2], around[3])
    return ShuffleNet(entry, found_units, last, around[4])


def _kinds(layers: list[Layer]) -> str:
    return "".join(layer.kind[0] for layer in layers)
