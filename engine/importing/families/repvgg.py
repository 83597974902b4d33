"""RepVGG while it is trained (Ding 2021, arXiv 2101.03697): three branches that are added.

In the names of its authors and chenyaofo: ``rbr_dense``, ``rbr_1x1`` and, where the shape stays, a
norm alone, ``rbr_identity``; or ``rbr_reparam`` where the branches were made one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.catalog.models.wiring import Wiring
from engine.importing.families.layers import Layer, numbered
from engine.importing.families.writer import Unfit, Writer

_PLACE = re.compile(r"(?P<block>stage(?P<stage>\d)(?:\.\d+)?)\.rbr_(?P<part>[a-z0-9]+)(?:\.\w+)?")


@dataclass(frozen=True)
class RepVgg:
    """A RepVGG as read from its tensors.

    Attributes:
        blocks: of each the name, the number of its stage and its branches.
        head: the linear layer.
    """

    blocks: tuple[tuple[str, int, dict[str, tuple[Layer, ...]]], ...]
    head: Layer

    @property
    def stem(self) -> Layer:
        """The first convolution."""
        branches = self.blocks[0][2]
        return branches.get("dense", branches.get("reparam", ()))[0]

    @property
    def label(self) -> str:
        """In words, such as ``RepVGG (1.2.4.14.1 blocks)``."""
        stages = [stage for _, stage, _ in self.blocks]
        return f"RepVGG ({'.'.join(str(stages.count(one)) for one in sorted(set(stages)))} blocks)"

    def wirings(self) -> list[tuple[str, Wiring]]:
        """That for small images, and that for large ones.

        Raises:
            Unfit: some layer reads other channels than are there.
        """
        large = "strides for images of 224x224"
        return [("", self._wiring(early=1)), (large, self._wiring(early=2))]

    def _wiring(self, early: int) -> Wiring:
        writer, before = Writer(self.stem.size[1]), -1
        for name, stage, branches in self.blocks:
            stride = 1 if stage == before else (early if stage < 2 else 2)
            _write(writer, name, branches, stride)
            before = stage
        writer.head([self.head], "adaptive-mean")
        return writer.wiring()


def _write(writer: Writer, name: str, branches: dict[str, tuple[Layer, ...]], stride: int) -> None:
    inputs, width = writer.at, writer.width
    ends = []
    for part in ("dense", "1x1", "identity", "reparam"):
        writer.go(inputs, width)
        for layer in branches.get(part, ()):
            writer.layer(layer, stride=stride if layer.kind == "convolution" else 1)
        if part in branches:
            ends.append((writer.at, writer.width))
    if len({one for _, one in ends}) != 1:
        raise Unfit(f"the branches of {name} give different channels")
    for place, (end, _) in enumerate(ends[1:]):
        writer.put(f"{name}.sum_{place}", "add", ends[0][0] if not place else writer.at, end)
        ends[0] = (writer.at, ends[0][1])
    writer.go(*ends[0])
    writer.put(f"{name}.relu", "relu")


def read_repvgg(layers: list[Layer]) -> RepVgg:
    """Sort layers into a RepVGG.

    Raises:
        Unfit: they are none.
    """
    blocks: dict[tuple[int, str], dict[str, list[Layer]]] = {}
    around = []
    for layer in layers:
        found = _PLACE.fullmatch(layer.name)
        if found:
            block = blocks.setdefault((int(found["stage"]), found["block"]), {})
            block.setdefault(found["part"], []).append(layer)
        else:
            around.append(layer)
    if [layer.kind for layer in around] != ["linear"] or not blocks:
        raise Unfit
    named = []
    for stage, name in sorted(blocks, key=lambda one: (one[0], numbered(one[1]))):
        parts = {
            part: tuple(sorted(inside, key=lambda layer: layer.kind != "convolution"))
            for part, inside in blocks[stage, name].items()
        }
        if set(parts) not in ({"dense", "1x1"}, {"dense", "1x1", "identity"}, {"reparam"}):
            raise Unfit(f"{name} has the branches {', '.join(parts)}")
        named.append((name, stage, parts))
    return RepVgg(tuple(named), around[0])
