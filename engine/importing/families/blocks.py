"""Blocks of layers in stages: what stands in a block, in which order, and what stands around them.

Programs call the parts of a block what they like. The order is that of the file, or of the numbers
in the names where that one cannot be (some formats sort names), and it is held against the shapes:
every layer must read what the one before it gives.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine.importing.families.layers import Layer, numbered
from engine.importing.families.writer import Unfit

_PLACE = re.compile(
    r"(?P<stage>(?:[^.]+\.)*?[A-Za-z_]+\d+[A-Za-z_]*)\."
    r"(?:layers?\.|blocks?\.|units?\.)?(?P<block>[A-Za-z_\d]*?\d+)\.(?P<part>.+)"
)
"""``layer1.0.conv1``, ``block1.layer.0.bn1``, ``conv2_x.0.residual_function.0``,
``stage_1.stage_1_bottleneck_0.conv_reduce``, ``features.denseblock1.denselayer2.norm1``."""

_SHORTCUT = re.compile(r"short_?cut|down_?sample|skip|identity|projection|(^|[._])proj", re.I)
_GATE = re.compile(r"(^|\.)(fc\d?|se|se_?\w*|squeeze|excitation)(\.|$)", re.I)
_MOST_BLOCKS = 600


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        name: what the names of its layers begin with.
        first: whether it begins a stage.
        body: convolutions and norms in their order.
        shortcut: those beside them; none where the shortcut has no tensors.
        gate: two layers that weigh channels, or none.
    """

    name: str
    first: bool
    body: tuple[Layer, ...]
    shortcut: tuple[Layer, ...]
    gate: tuple[Layer, ...] = ()

    @property
    def norm_first(self) -> bool:
        """Whether it is of pre-activation."""
        return self.body[0].kind == "norm"

    @property
    def convolutions(self) -> list[Layer]:
        """Of the body."""
        return [layer for layer in self.body if layer.kind == "convolution"]


@dataclass(frozen=True)
class Stages:
    """A network of blocks.

    Attributes:
        stages: blocks in their order.
        around: layers before, between and behind the stages.
    """

    stages: tuple[tuple[Block, ...], ...]
    around: tuple[Layer, ...]

    @property
    def blocks(self) -> list[Block]:
        """Of all stages."""
        return [block for stage in self.stages for block in stage]


def stages_of(layers: Sequence[Layer]) -> Stages:
    """Sort layers into stages of blocks.

    Raises:
        Unfit: there are no such blocks, or they differ from each other in their layers.
    """
    places: dict[str, dict[str, list[Layer]]] = {}
    around = []
    for layer in layers:
        found = _PLACE.fullmatch(layer.name)
        if found is None:
            around.append(layer)
            continue
        name = layer.name[: found.start("part") - 1]
        places.setdefault(found["stage"], {}).setdefault(name, []).append(layer)
    if not places or sum(map(len, places.values())) > _MOST_BLOCKS:
        raise Unfit
    stages = [
        [(name, inside[name]) for name in sorted(inside, key=numbered)]
        for _, inside in sorted(places.items(), key=lambda one: numbered(one[0]))
    ]
    blocks = in_order(stages)
    _check_alike(blocks)
    return Stages(blocks, tuple(around))


Named = list[tuple[str, list[Layer]]]
"""Blocks by what the names of their layers begin with."""


def in_order(stages: Sequence[Named]) -> tuple[tuple[Block, ...], ...]:
    """The layers of blocks in an order in which each reads what the one before it gives.

    Raises:
        Unfit: there is none.
    """
    for order in _ORDERS:
        try:
            return tuple(_stage(one, order) for one in stages)
        except _DisorderError:
            continue
    _check_alike(_stage(one, None, strict=False) for one in stages)
    raise Unfit("the layers of its blocks do not follow each other")


class _DisorderError(Exception):
    """Two norms would stand side by side, or a layer would read other channels than there are."""


Order = Callable[[str, Layer], object]


def _by_kind(first: str) -> Order:
    def key(part: str, layer: Layer) -> object:
        numbers = [int(one) for one in re.findall(r"\d+", part)]
        letter = re.search(r"_([a-z])$", part)  # conv_a, bn_a, conv_b ...
        return numbers, letter[1] if letter else "", layer.kind != first, numbered(part)

    return key


_ORDERS: tuple[Order | None, ...] = (None, _by_kind("convolution"), _by_kind("norm"))
"""That of the file; and of the numbers, where ``conv1`` comes before ``bn1`` or behind it."""


def _stage(blocks: Named, order: Order | None, strict: bool = True) -> tuple[Block, ...]:
    found = [_block(name, not place, layers, order) for place, (name, layers) in enumerate(blocks)]
    for block in found if strict else ():
        _check_order(block.body)
    return tuple(found)


def _check_alike(stages: Iterable[Iterable[Block]]) -> None:
    """Blocks that lack a layer would compute something else without notice.

    Raises:
        Unfit: not all have the same layers in their bodies.
    """
    blocks = [block for stage in stages for block in stage]
    usual, _ = Counter(map(_parts, blocks)).most_common(1)[0]
    for block in blocks:
        if missing := [one for one in usual if one not in _parts(block)]:
            raise Unfit(f"{block.name} lacks {', '.join(missing)}, which other blocks have")
        if more := [one for one in _parts(block) if one not in usual]:
            raise Unfit(f"{block.name} has {', '.join(more)}, which other blocks lack")


def _parts(block: Block) -> tuple[str, ...]:
    return tuple(layer.name[len(block.name) + 1 :] for layer in (*block.body, *block.gate))


def _block(name: str, first: bool, layers: list[Layer], order: Order | None) -> Block:
    parts = {layer: layer.name[len(name) + 1 :] for layer in layers}
    shortcut = [layer for layer in layers if _SHORTCUT.search(parts[layer])]
    gate = [
        layer
        for layer in layers
        if layer not in shortcut and layer.kind != "norm" and _GATE.search(parts[layer])
    ]
    body = [layer for layer in layers if layer not in shortcut and layer not in gate]
    if order is not None:
        body.sort(key=lambda layer: order(parts[layer], layer))  # type: ignore[arg-type,return-value]
    shortcut.sort(key=lambda layer: layer.kind != "convolution")
    gate.sort(key=lambda layer: numbered(layer.name))
    _check(body, shortcut, gate)
    return Block(name, first, tuple(body), tuple(shortcut), tuple(gate))


def _check(body: list[Layer], shortcut: list[Layer], gate: list[Layer]) -> None:
    if not body or any(layer.kind == "linear" for layer in body):
        raise Unfit("a block without convolutions")
    if [layer.kind for layer in shortcut] not in (
        [], ["convolution"], ["convolution", "norm"],
    ):  # fmt: skip
        raise Unfit(f"the shortcut {shortcut[0].name} has other layers than a convolution and norm")
    if len(gate) not in (0, 2):
        raise Unfit(f"{gate[0].name} has a place nowhere")


def _check_order(body: tuple[Layer, ...]) -> None:
    if any(a.kind == b.kind == "norm" for a, b in pairwise(body)):
        raise _DisorderError
    width = None
    for layer in body:
        reads = layer.size[1] if layer.kind == "convolution" else layer.size[0]
        if width is not None and width != reads and (layer.kind == "norm" or width % reads):
            raise _DisorderError
        width = layer.size[0]
