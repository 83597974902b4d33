"""Densely connected networks (Huang 2016, arXiv 1608.06993) for small images.

In the names of kuangliu, bearpaw, bamos and andreasveit, of efficient_densenet and torchvision,
with the growth and the widths that their tensors have.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from engine.catalog.models.wiring import Wiring
from engine.importing.families.blocks import Block, stages_of
from engine.importing.families.layers import Layer, numbered
from engine.importing.families.writer import Unfit, Writer

_IMAGENET_KERNEL = 7


@dataclass(frozen=True)
class Dense:
    """A dense network as read from its tensors.

    Attributes:
        stem: the first convolution.
        first: the norm behind it, or none.
        stages: of blocks whose outputs are joined with what they read.
        between: norm and convolution behind each stage but the last.
        last: the norm behind all.
        head: the linear layer.
    """

    stem: Layer
    first: Layer | None
    stages: tuple[tuple[Block, ...], ...]
    between: tuple[tuple[Layer, Layer], ...]
    last: Layer
    head: Layer

    @property
    def label(self) -> str:
        """In words, such as ``DenseNet-100 (16.16.16 blocks, growth 12)``."""
        blocks = [block for stage in self.stages for block in stage]
        depth = sum(len(one.convolutions) for one in blocks) + len(self.between) + 2
        grown = sorted({one.convolutions[-1].size[0] for one in blocks})
        growth = str(grown[0]) if len(grown) == 1 else f"{grown[0]} to {grown[-1]}"
        counts = ".".join(str(len(stage)) for stage in self.stages)
        return f"DenseNet-{depth} ({counts} blocks, growth {growth})"

    def wirings(self) -> list[tuple[str, Wiring]]:
        """The usual one; the other way of joining; a pool behind the stem.

        Raises:
            Unfit: some layer reads other channels than are there.
        """
        # kuangliu puts what is new first, all others last.
        newest = self.head.name == "linear"
        large = self.stem.kernel >= _IMAGENET_KERNEL
        pooled = large or self.first is not None
        found = [("", self._wiring(newest, pooled))]
        if self.head.name != "classifier":  # torchvision and what follows it
            words = "new channels last" if newest else "new channels first"
            found.append((words, self._wiring(not newest, pooled)))
        if not large:
            words = f"with{'out' if pooled else ''} a max pool behind the stem"
            found.append((words, self._wiring(newest, not pooled)))
        return found

    def _wiring(self, newest: bool, pooled: bool) -> Wiring:
        writer = Writer(self.stem.size[1])
        writer.layer(self.stem, stride=2 if self.stem.kernel >= _IMAGENET_KERNEL else 1)
        if self.first is not None:
            writer.layer(self.first)
            writer.put("stem_relu", "relu")
        if pooled:
            writer.put("stem_pool", "max-pool", kernel=3, stride=2, padding=1)
        for place, stage in enumerate(self.stages):
            for block in stage:
                _join(writer, block, newest)
            for layer in self.between[place : place + 1]:
                _pass(writer, layer, f"pass_{place + 1}")
        writer.layer(self.last)
        writer.put("last_relu", "relu")
        writer.head([self.head])
        return writer.wiring()


def _join(writer: Writer, block: Block, newest: bool) -> None:
    """A block, and beside its output what it read."""
    inputs, width = writer.at, writer.width
    for place, layer in enumerate(block.body):
        writer.layer(layer)
        if layer.kind == "norm":
            writer.put(f"{block.name}.relu_{place}", "relu")
    both = (writer.at, inputs) if newest else (inputs, writer.at)
    writer.go(writer.put(f"{block.name}.join", "concatenate", *both), width + writer.width)


def _pass(writer: Writer, layers: tuple[Layer, Layer], name: str) -> None:
    """A transition, which halves the sides."""
    writer.layer(layers[0])
    writer.put(f"{name}_relu", "relu")
    writer.layer(layers[1])
    writer.put(f"{name}_pool", "average-pool", kernel=2)


def read_dense(layers: list[Layer]) -> Dense:
    """Sort layers into a dense network.

    Raises:
        Unfit: they are none.
    """
    found = stages_of(layers)
    plain = all(block.norm_first and not block.shortcut for block in found.blocks)
    if not plain or not _grows(found.stages):
        raise Unfit
    of = {kind: [one for one in found.around if one.kind == kind] for kind in _AROUND}
    stems = [one for one in of["convolution"] if one.size[1] in (1, 3)]
    if len(stems) != 1 or len(of["linear"]) != 1:
        raise Unfit("around its blocks stand other layers than a stem, transitions and a head")
    passes = sorted(set(of["convolution"]) - {stems[0]}, key=lambda one: numbered(one.name))
    # A transition has a name of its own, which its norm shares.
    norms = {_owner(one): one for one in of["norm"] if _owner(one) in map(_owner, passes)}
    rest = [one for one in of["norm"] if one not in norms.values()]
    if len(passes) != len(norms) or len(passes) != len(found.stages) - 1 or len(rest) not in (1, 2):
        raise Unfit("between its stages stand other layers than a norm and a convolution")
    rest.sort(key=lambda one: one.size[0] == of["linear"][0].size[1])
    first = rest[0] if len(rest) == 2 else None
    between = tuple((norms[_owner(one)], one) for one in passes)
    return Dense(stems[0], first, found.stages, between, rest[-1], of["linear"][0])


_AROUND = ("convolution", "norm", "linear")


def _owner(layer: Layer) -> str:
    return layer.name.rpartition(".")[0]


def _grows(stages: tuple[tuple[Block, ...], ...]) -> bool:
    """Whether each block reads what the one before it read, and what that one gave."""
    return all(
        after.body[0].size[0] == before.body[0].size[0] + before.convolutions[-1].size[0]
        for stage in stages
        for before, after in pairwise(stage)
    ) and any(len(stage) > 1 for stage in stages)
