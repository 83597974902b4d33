"""From a state dict to a chain of layers: their order, their norms, and what stands between them.

Names give the order where shapes leave it open, and the numbers of a ``torch.nn.Sequential``
tell how many layers without weights stand between two with some.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch

State = dict[str, torch.Tensor]
Kind = Literal["conv", "linear", "norm", "prelu"]

_MOST_LAYERS = 64
_MOST_STEPS = 20_000
_MAIN = ("conv", "linear")
_NORM = {"running_mean", "running_var"}
_BRANCH = re.compile(r"shortcut|downsample|skip|residual", re.IGNORECASE)
"""In the name of a layer that stands beside others."""
_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Part:
    """A layer with tensors.

    Attributes:
        name: of the layer in the file.
        kind: what its tensors can only be.
        size: of the weight; (features,) of a norm or a PReLU.
    """

    name: str
    kind: Kind
    size: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """A convolution or linear layer, with what stands between it and the next.

    Attributes:
        layer: the layer.
        groups: of a convolution.
        small: norms and PReLUs behind it, in order.
        gaps: how many layers without weights stand before each of ``small`` and, last, before the
            next step; None where the names do not tell.
    """

    layer: Part
    groups: int
    small: tuple[Part, ...]
    gaps: tuple[int | None, ...]

    @property
    def width(self) -> int:
        """Channels or numbers that it gives."""
        return self.layer.size[0]

    def flat(self, part: Part) -> bool:
        """Whether a norm behind it normalises not its channels, but the flattened numbers."""
        return part.kind == "norm" and part.size[0] != self.width


@dataclass(frozen=True)
class Chain:
    """Layers of which each reads what the one before it gives.

    Attributes:
        first: norms of the images themselves.
        steps: convolutions, then linear layers.
    """

    first: tuple[Part, ...]
    steps: tuple[Step, ...]

    @property
    def convolutions(self) -> tuple[Step, ...]:
        """Those of the steps."""
        return tuple(one for one in self.steps if one.layer.kind == "conv")

    @property
    def linears(self) -> tuple[Step, ...]:
        """Those of the steps."""
        return tuple(one for one in self.steps if one.layer.kind == "linear")

    @property
    def outputs(self) -> int:
        """Numbers that it gives."""
        return self.steps[-1].width

    @property
    def channels(self) -> int | None:
        """Of the images; None for linear layers alone."""
        return self.steps[0].layer.size[1] if self.convolutions else None

    @property
    def inputs(self) -> int | None:
        """Numbers that the first linear layer reads; None without one."""
        return self.linears[0].layer.size[1] if self.linears else None

    @property
    def places(self) -> int | None:
        """Pixels of each channel where the maps are flattened; None without a linear layer."""
        if not self.convolutions or self.inputs is None:
            return None
        return self.inputs // self.convolutions[-1].width

    def words(self) -> str:
        """What it is made of."""
        counts = [(len(self.convolutions), "convolution"), (len(self.linears), "linear layer")]
        return " and ".join(f"{count} {kind}{'s' if count > 1 else ''}" for count, kind in counts
                            if count)  # fmt: skip


def read_chain(state: State) -> Chain | None:
    """The chain that a state dict is; None if it is none.

    Args:
        state: without wrappers and prefixes.
    """
    parts = _parts(state)
    if parts is None or any(_BRANCH.search(part.name) for part in parts):
        return None
    if list(state) == sorted(state):  # as safetensors keeps them: 10 before 2
        parts.sort(key=lambda part: _natural(part.name))
    mains = [part for part in parts if part.kind in _MAIN]
    if not 1 <= len(mains) <= _MOST_LAYERS:
        return None
    order = _walk(mains, None, None, [_MOST_STEPS])
    if order is None:
        return None
    layers = [layer for layer, _ in order]
    slots = _adjacent(parts, layers) or _matched(parts, layers)
    if slots is None or len({part.name for slot in slots for part in slot}) + len(layers) != len(
        parts
    ):
        return None
    return _chain(order, slots)


def _parts(state: State) -> list[Part] | None:
    """The layers in the order of the file; None if there is one of another kind."""
    leaves: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        layer, _, leaf = key.rpartition(".")
        leaves.setdefault(layer, {})[leaf] = value
    parts = [_part(layer, tensors) for layer, tensors in leaves.items()]
    known = [one for one in parts if one is not None]
    return known if len(known) == len(parts) else None


def _part(name: str, tensors: State) -> Part | None:
    if set(tensors) >= _NORM:
        counter = tensors.get("num_batches_tracked")
        if counter is not None and counter.dim():
            return None
        sizes = {tuple(one.shape) for one in tensors.values() if one is not counter}
        size = tuple(tensors["running_mean"].shape)
        known = set(tensors) <= {*_NORM, "weight", "bias", "num_batches_tracked"}
        return Part(name, "norm", size) if known and sizes == {size} and len(size) == 1 else None
    weight = tensors.get("weight")
    if weight is None or not set(tensors) <= {"weight", "bias"} or not weight.is_floating_point():
        return None
    size = tuple(weight.shape)
    if "bias" in tensors and tuple(tensors["bias"].shape) != size[:1]:
        return None
    if len(size) == 1:
        return Part(name, "prelu", size) if "bias" not in tensors else None
    kinds: dict[int, Kind] = {2: "linear", 4: "conv"}
    return Part(name, kinds[len(size)], size) if len(size) in kinds else None


def _natural(name: str) -> list[tuple[int, str]]:
    """For an order in which 10 comes after 2."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _NUMBER.split(name)]


def _walk(
    left: Sequence[Part], width: int | None, kind: str | None, steps: list[int]
) -> list[tuple[Part, int]] | None:
    """The first order in which all fit, with the groups of each; earlier ones are preferred.

    Args:
        left: layers that are not placed, the preferred first.
        width: what the layer before gives; None at the begin.
        kind: of the layer before.
        steps: how many more may be tried, as a number to count down.
    """
    if not left:
        return []
    steps[0] -= 1
    if steps[0] < 0:
        return None
    nearest = [one for one in left if one.kind == "conv"] or list(left)
    if width is None:  # images are grey or in colour
        usual = [one for one in nearest if one.kind == "linear" or one.size[1] in (1, 3)]
        nearest = usual or nearest[:1]
    for place, one in enumerate(nearest):
        groups = _groups(one, width, kind)
        odd = 1 < groups < (width or 0)  # neither dense nor depthwise: only if it is the next
        if groups and not (place and odd):
            others = [other for other in left if other is not one]
            rest = _walk(others, one.size[0], one.kind, steps)
            if rest is not None:
                return [(one, groups), *rest]
    return None


def _groups(layer: Part, width: int | None, kind: str | None) -> int:
    """In how many groups it reads so many channels; 0 if it cannot."""
    reads = layer.size[1]
    if width is None:
        return 1
    if layer.kind == "linear":
        fits = reads % width == 0 if kind == "conv" else reads == width
        return int(fits)
    groups = width // reads
    if reads > 1 and groups > 1 and layer.size[2:] == (1, 1):
        return 0  # of 1x1 convolutions, only what stands beside others looks grouped
    return groups if width % reads == 0 and layer.size[0] % groups == 0 else 0


Slots = list[list[Part]]
"""What stands before the first layer, and behind each."""


def _fits(part: Part, layers: Sequence[Part], place: int) -> bool:
    """Whether a small layer may stand at a place of ``Slots``."""
    features = part.size[0]
    before = layers[place - 1] if place else None
    behind = layers[place] if place < len(layers) else None
    if part.kind == "prelu":
        return before is not None and features in (1, before.size[0])
    if before is not None and features == before.size[0]:
        return True
    reads = behind is not None and features == behind.size[1]
    return reads and (before is None or before.kind != "linear")


def _adjacent(parts: Sequence[Part], layers: Sequence[Part]) -> Slots | None:
    """Each where it stands in the file; None if that is not possible."""
    slots: Slots = [[] for _ in range(len(layers) + 1)]
    place = 0
    for part in parts:
        if part.kind in _MAIN:
            if layers[place] is not part:
                return None
            place += 1
        elif _fits(part, layers, place) and not _taken(slots[place], part):
            slots[place].append(part)
        else:
            return None
    return slots


def _matched(parts: Sequence[Part], layers: Sequence[Part]) -> Slots | None:
    """Each beside the layer with its number, else beside the next one with its features."""
    slots: Slots = [[] for _ in range(len(layers) + 1)]
    last = 0
    for part in parts:
        if part.kind in _MAIN:
            continue
        places = [
            place
            for place in range(len(layers) + 1)
            if _fits(part, layers, place) and not _taken(slots[place], part)
        ]
        if not places:
            return None
        last = min(
            places,
            key=lambda place: (
                not place or _number(layers[place - 1].name) != _number(part.name),
                place <= last,
                place,
            ),
        )
        slots[last].append(part)
    return slots


def _taken(slot: Sequence[Part], part: Part) -> bool:
    return any((one.kind, one.size) == (part.kind, part.size) for one in slot)


def _number(name: str) -> str:
    found = [one for one in _NUMBER.split(name) if one.isdigit()]
    return found[-1] if found else ""


def _chain(order: Sequence[tuple[Part, int]], slots: Slots) -> Chain:
    gaps = _gaps([*slots[0], *(one for (layer, _), slot in zip(order, slots[1:], strict=True)
                               for one in (layer, *slot))])  # fmt: skip
    steps = tuple(
        Step(layer, groups, tuple(slot), tuple(gaps.get(one.name) for one in (layer, *slot)))
        for (layer, groups), slot in zip(order, slots[1:], strict=True)
    )
    return Chain(tuple(slots[0]), steps)


def _gaps(parts: Sequence[Part]) -> dict[str, int]:
    """By the name of a layer, how many without weights stand behind it in its Sequential.

    A container with no gap at all between several layers is a ``ModuleList``, whose numbers say
    nothing of what is called between them.
    """
    found: dict[str, dict[str, int]] = {}
    mains: dict[str, int] = {}
    for part in parts:
        container, _, number = part.name.rpartition(".")
        mains[container] = mains.get(container, 0) + (number.isdigit() and part.kind in _MAIN)
    for one, other in pairwise(parts):
        (box, _, here), (other_box, _, there) = one.name.rpartition("."), other.name.rpartition(".")
        if box == other_box and here.isdigit() and there.isdigit() and int(here) < int(there):
            found.setdefault(box, {})[one.name] = int(there) - int(here) - 1
    return {
        name: gap
        for box, gaps in found.items()
        if any(gaps.values()) or mains[box] < 2
        for name, gap in gaps.items()
    }
