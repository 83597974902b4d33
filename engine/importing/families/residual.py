"""Residual networks for small images: stem, stages of blocks with shortcuts, mean, linear layer.

He 2015 (arXiv 1512.03385) and 2016 (1603.05027), Zagoruyko 2016 (1605.07146), Xie 2016
(1611.05431), Hu 2017 (1709.01507), in whatever names, widths and depths their tensors have. What
is not told by tensors is a ``Choice``: names tell which is usual, the others can be tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from engine.catalog.models.wiring import Wiring
from engine.importing.families.blocks import Block, Stages, stages_of
from engine.importing.families.layers import Layer
from engine.importing.families.writer import Unfit, Writer, tail_of

_IMAGENET_KERNEL = 7
_SIDE = 32


@dataclass(frozen=True)
class Choice:
    """What the tensors of a residual network do not tell.

    Attributes:
        pooled: whether a max pool stands behind the stem.
        raw: whether the convolution of a shortcut reads what a block of pre-activation gets,
            instead of that normalised and activated.
        late: whether the later of two convolutions has the stride, or of three the first.
        behind: whether new channels of a shortcut without tensors come behind the old ones,
            instead of around them.
        activated: whether a ReLU stands behind the last norm.
        early: strides of the stem and of the first stage.
    """

    pooled: bool = False
    raw: bool = False
    late: bool = False
    behind: bool = False
    activated: bool = True
    early: tuple[int, int] = (1, 1)

    def words(self, usual: Choice) -> str:
        """In which way it differs from what is usual."""
        early = "strides of {} in the stem and {} in the first stage".format(*self.early)
        told = {
            "pooled": ("with a max pool behind the stem", "without a pool behind the stem"),
            "raw": ("shortcuts of raw inputs", "shortcuts of activated inputs"),
            "late": ("stride in another convolution",) * 2,
            "behind": ("new channels behind the old", "new channels around the old"),
            "activated": ("a ReLU before the pool", "no ReLU before the pool"),
            "early": (early, early),
        }
        return ", ".join(
            yes if getattr(self, key) else no
            for key, (yes, no) in told.items()
            if getattr(self, key) != getattr(usual, key)
        )


@dataclass(frozen=True)
class Residual:
    """A residual network as read from its tensors.

    Attributes:
        stem: the first convolution.
        first: the norm behind it, or none.
        stages: of blocks.
        last: the norm behind the last block, or none.
        tail: linear layers behind all, mostly one.
    """

    stem: Layer
    first: Layer | None
    stages: Stages
    last: Layer | None
    tail: tuple[Layer, ...]

    @property
    def head(self) -> Layer:
        """The last linear layer."""
        return self.tail[-1]

    @property
    def norm_first(self) -> bool:
        """Whether its blocks are of pre-activation."""
        return self.stages.blocks[0].norm_first

    @property
    def label(self) -> str:
        """In words, such as ``ResNet-20, 3 stages, 1x1 shortcuts``."""
        blocks = self.stages.blocks
        depth = sum(len(one.convolutions) for one in blocks) + (4 if self._wide() else 2)
        grouped = any(
            layer.size[1] * 2 <= before.size[0]
            for one in blocks
            for before, layer in zip(one.convolutions, one.convolutions[1:], strict=False)
        )
        kind = "ResNeXt" if grouped else "SENet" if blocks[0].gate else "ResNet"
        kind = f"pre-activation {kind}" if self.norm_first else kind
        if self._wide():
            kind = "wide ResNet"
        counts = ".".join(str(len(stage)) for stage in self.stages.stages)
        widths = ".".join(str(_width(stage[-1])) for stage in self.stages.stages)
        kernels = sorted({one.shortcut[0].kernel for one in blocks if one.shortcut})
        cuts = " and ".join(f"{one}x{one}" for one in kernels)
        joined = f"{cuts} shortcuts" if cuts else "shortcuts without weights"
        pruned = ", of unequal width inside" if self._pruned() else ""
        return f"{kind}-{depth} ({counts} blocks, widths {widths}{pruned}, {joined})"

    def _pruned(self) -> bool:
        """Whether blocks of one stage have other widths inside."""
        inside = (
            {tuple(layer.size[0] for layer in block.convolutions[:-1]) for block in stage}
            for stage in self.stages.stages
        )
        return any(len(widths) > 1 for widths in inside)

    def _wide(self) -> bool:
        first = self.stages.blocks[0]
        wider = len(first.convolutions) == 2 and _width(first) > self.stem.size[0]
        return self.norm_first and len(self.stages.stages) == 3 and wider

    def usual(self) -> Choice:
        """What networks with such names and tensors are."""
        names = [layer.name for block in self.stages.blocks for layer in block.shortcut]
        first = self.stages.blocks[0]
        biased = first.convolutions[0].bias
        listed = ".residual." in first.body[0].name
        raw = biased or listed or any("downsample" in name for name in names)
        # With biases, wide ResNets halve the sides late, and listed bottlenecks early.
        late = biased and listed == (len(first.convolutions) == 3)
        return Choice(
            raw=self.norm_first and raw,
            late=self.norm_first and late,
            behind=first.body[0].name.endswith("conv_a"),
            activated="init_conv" not in self.stem.name,
            early=self._early()[0],
        )

    def _early(self) -> list[tuple[int, int]]:
        """Strides of stem and first stage that may be, the usual first.

        A head that reads a square of means tells how far the sides were halved, if the images
        have the usual side; it may also be made for larger images.
        """
        read = next((one.size[1] for one in self.tail if len(one.size) > 1), 0)
        side = math.isqrt(max(read // _width(self.stages.blocks[-1]), 1))
        if self.stem.kernel >= _IMAGENET_KERNEL:
            return [(2, 1)]
        if side == 1:
            return [(1, 1)]
        left = _SIDE // side >> (len(self.stages.stages) - 1)
        found = {2: [(2, 1), (1, 2)], 4: [(2, 2)]}.get(left, [])
        return [*found, (1, 1)] if len(self.tail) > 1 else [(1, 1), *found]

    def choices(self) -> list[Choice]:
        """The usual one, then those that differ in what matters here."""
        usual, blocks = self.usual(), self.stages.blocks
        if any("convShortcut" in one.name for block in blocks for one in block.shortcut):
            return [usual]  # the one program with this name
        raw, late = replace(usual, raw=not usual.raw), replace(usual, late=not usual.late)
        found = [usual]
        wide, deep = len(self.stages.stages) == 3, len(blocks[0].convolutions) == 3
        if not wide and self.stem.kernel < _IMAGENET_KERNEL and self.head.name != "linear":
            found.append(replace(usual, pooled=not usual.pooled))
        if self.norm_first and any(one.shortcut for one in blocks):
            found.append(raw)
            found += [late, replace(raw, late=late.late)] if wide or deep else []
        found += [replace(usual, early=one) for one in self._early()[1:]]
        if any(_pads(one) for one in blocks):
            found.append(replace(usual, behind=not usual.behind))
        if self.last is not None and ".residual." in blocks[0].body[0].name:
            found.append(replace(usual, activated=not usual.activated))
        return found

    def wirings(self) -> list[tuple[str, Wiring]]:
        """The usual one, then those in which it differs, in words.

        Raises:
            Unfit: some layer reads other channels than are there.
        """
        choices = self.choices()
        return [(one.words(choices[0]), self._wiring(one)) for one in choices]

    def _wiring(self, choice: Choice) -> Wiring:
        writer = Writer(self.stem.size[1])
        large = self.stem.kernel >= _IMAGENET_KERNEL
        writer.layer(self.stem, stride=choice.early[0])
        if self.first is not None:
            writer.layer(self.first)
        if self.first is not None or not self.norm_first:
            writer.put("stem_relu", "relu")
        if choice.pooled or large:
            writer.put("stem_pool", "max-pool", kernel=3, stride=2, padding=1)
        for place, stage in enumerate(self.stages.stages):
            for block in stage:
                stride = 2 if place else choice.early[1]
                _write(writer, block, stride if block.first else 1, choice)
        if self.last is not None:
            writer.layer(self.last)
            if choice.activated:
                writer.put("last_relu", "relu")
        writer.head(self.tail)
        return writer.wiring()


def _width(block: Block) -> int:
    return block.convolutions[-1].size[0]


def _pads(block: Block) -> bool:
    """Whether its shortcut has no tensors, but must give more channels than it gets."""
    return not block.shortcut and block.convolutions[0].size[1] < _width(block)


def read_residual(layers: list[Layer]) -> Residual:
    """Sort layers into a residual network.

    Raises:
        Unfit: they are none.
    """
    stages = stages_of(layers)
    around, tail = tail_of(stages.around)
    stems = [layer for layer in around if layer.kind == "convolution"]
    norms = [layer for layer in around if layer.kind == "norm"]
    if len(stems) != 1 or len(norms) > 2 or tail[-1].kind != "linear":
        names = ", ".join(layer.name for layer in stages.around[:6])
        raise Unfit(f"around its blocks stand other layers than a stem and a head ({names})")
    if len({block.norm_first for block in stages.blocks}) > 1:
        raise Unfit("some blocks begin with a norm, others do not")
    first, last = _norms(stems[0], stages, norms)
    return Residual(stems[0], first, stages, last, tail)


def _norms(stem: Layer, stages: Stages, norms: list[Layer]) -> tuple[Layer | None, Layer | None]:
    """That behind the stem and that behind the last block."""
    width = _width(stages.blocks[-1])
    if not stages.blocks[0].norm_first:
        if len(norms) > 1:
            raise Unfit(f"{norms[1].name} has a place nowhere")
        return (norms[0] if norms else None), None
    last = next((one for one in reversed(norms) if one.size[0] == width), None)
    others = [one for one in norms if one is not last]
    if last is not None and not others and width == stem.size[0]:
        raise Unfit(f"{last.name} may stand behind the stem or behind the blocks")
    if len(others) > 1:
        raise Unfit(f"{others[1].name} has a place nowhere")
    return (others[0] if others else None), last


def _write(writer: Writer, block: Block, stride: int, choice: Choice) -> None:
    inputs, width = writer.at, writer.width
    strided = _strided(block, choice)
    body = list(block.body)
    read = inputs
    if block.norm_first:
        writer.layer(body.pop(0))
        read = writer.put(f"{block.name}.relu_0", "relu")
    for place, layer in enumerate(body):
        writer.layer(layer, stride=stride if layer is strided else 1)
        if any(one.kind == "convolution" for one in body[place + 1 : place + 2]):
            writer.put(f"{block.name}.relu_{place + 1}", "relu")
    if block.gate:
        _gate(writer, block)
    out, outputs = writer.at, writer.width
    shortcut = _shortcut(writer, block, stride, choice, (inputs, read), width, outputs)
    writer.go(out, outputs)
    writer.put(f"{block.name}.sum", "add", out, shortcut)
    if not block.norm_first:
        writer.put(f"{block.name}.relu_last", "relu")


def _strided(block: Block, choice: Choice) -> Layer:
    """The convolution of the body that has the stride."""
    found = block.convolutions
    if len(found) == 3:
        return found[0] if choice.late else found[1]
    return found[-1] if choice.late else found[0]


def _gate(writer: Writer, block: Block) -> None:
    """Weigh channels by what two layers make of their means."""
    out, width, name = writer.at, writer.width, f"{block.name}.gate"
    squeeze, excite = block.gate
    writer.put(f"{name}_mean", "mean")
    linear = squeeze.kind == "linear"
    if linear:
        writer.put(f"{name}_flat", "flatten")
    writer.layer(squeeze)
    writer.put(f"{name}_relu", "relu")
    writer.layer(excite)
    writer.put(f"{name}_sigmoid", "sigmoid")
    if linear:
        writer.put(f"{name}_maps", "as-maps")
    if writer.width != width:
        raise Unfit(f"{excite.name} gives {writer.width} channels instead of {width}")
    writer.put(f"{name}_times", "multiply", out, writer.at)


def _shortcut(
    writer: Writer,
    block: Block,
    stride: int,
    choice: Choice,
    reads: tuple[str, str],
    inputs: int,
    outputs: int,
) -> str:
    raw, active = reads
    if block.shortcut:
        writer.go(raw if choice.raw else active, inputs)
        for layer in block.shortcut:
            writer.layer(layer, stride=stride if layer.kind == "convolution" else 1)
        if writer.width != outputs:
            raise Unfit(f"{block.name}: the shortcut gives {writer.width} channels, not {outputs}")
        return writer.at
    writer.go(raw, inputs)
    if stride > 1:
        writer.put(f"{block.name}.every_second", "every-second")
    new = outputs - inputs
    if new < 0:
        raise Unfit(f"{block.name} gives fewer channels than it reads, without a shortcut")
    if new:
        before = 0 if choice.behind else new // 2
        writer.put(f"{block.name}.pad", "pad-channels", before=before, behind=new - before)
    return writer.at
