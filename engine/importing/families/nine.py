"""ResNet-9: four convolutions with pools, and two pairs that are added to what they read.

The form of Page's fast networks (2018) that tutorials use: ``conv1`` to ``conv4``, ``res1``,
``res2`` and a classifier behind a pool of all that is left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.catalog.models.wiring import Wiring
from engine.importing.families.layers import Layer, numbered
from engine.importing.families.writer import Unfit, Writer, tail_of

_PLAN = ("conv1", "conv2", "res1", "conv3", "conv4", "res2")
_PLACE = re.compile(r"(conv[1-4]|res[12])\..+")


@dataclass(frozen=True)
class Nine:
    """A ResNet-9 as read from its tensors.

    Attributes:
        parts: layers of each part, by its name.
        tail: linear layers behind all, mostly one.
    """

    parts: dict[str, tuple[Layer, ...]]
    tail: tuple[Layer, ...]

    @property
    def stem(self) -> Layer:
        """The first convolution."""
        return self.parts["conv1"][0]

    @property
    def head(self) -> Layer:
        """The last linear layer."""
        return self.tail[-1]

    @property
    def label(self) -> str:
        """In words, such as ``ResNet-9 (widths 64.128.256.512)``."""
        widths = (str(self.parts[name][0].size[0]) for name in _PLAN if name.startswith("conv"))
        return f"ResNet-9 (widths {'.'.join(widths)})"

    def wirings(self) -> list[tuple[str, Wiring]]:
        """With the largest of what is left before the classifier, and with its mean.

        Raises:
            Unfit: some layer reads other channels than are there.
        """
        mean = "the mean before the classifier"
        return [("", self._wiring(largest=True)), (mean, self._wiring(largest=False))]

    def _wiring(self, largest: bool) -> Wiring:
        writer = Writer(self.stem.size[1])
        for name in _PLAN:
            before, width = writer.at, writer.width
            for place, layer in enumerate(self.parts[name]):
                writer.layer(layer)
                if layer.kind == "norm":
                    writer.put(f"{name}.relu_{place}", "relu")
            if name.startswith("res"):
                if writer.width != width:
                    raise Unfit(f"{name} gives {writer.width} channels instead of {width}")
                writer.put(f"{name}.sum", "add", writer.at, before)
            elif name != "conv1":
                writer.put(f"{name}.pool", "max-pool", kernel=2)
        writer.head(self.tail, "largest" if largest else "mean")
        return writer.wiring()


def read_nine(layers: list[Layer]) -> Nine:
    """Sort layers into a ResNet-9.

    Raises:
        Unfit: they are none.
    """
    parts: dict[str, list[Layer]] = {}
    around = []
    for layer in layers:
        found = _PLACE.fullmatch(layer.name)
        if found:
            parts.setdefault(found[1], []).append(layer)
        else:
            around.append(layer)
    for inside in parts.values():
        inside.sort(key=_by_number)
    kinds = {name: "".join(one.kind[0] for one in inside) for name, inside in parts.items()}
    if kinds != {name: "cn" if name.startswith("conv") else "cncn" for name in _PLAN}:
        raise Unfit
    rest, tail = tail_of(around)
    if rest or tail[-1].kind != "linear":
        raise Unfit
    return Nine({name: tuple(inside) for name, inside in parts.items()}, tail)


def _by_number(layer: Layer) -> tuple[list[tuple[int, str]], bool]:
    """Of parts ``res1.0.conv`` and ``res1.0.bn`` the convolution comes first."""
    numbers = [one for one in numbered(layer.name) if one[0] >= 0]
    return numbers, layer.kind != "convolution"
