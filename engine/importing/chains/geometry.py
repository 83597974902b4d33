"""Strides, paddings and poolings that lead from an image to the inputs of the first linear layer.

What is not told by shapes is enumerated, the usual first. Each unusual choice costs something;
the numbers only order what is tried, and accuracy decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal

from engine.importing.chains.arrangement import STYLES, arranged, may_stand, unexplained
from engine.importing.chains.reading import Chain, Step

Size = tuple[int, int]
Reduce = Literal["", "global", "adaptive"]

_MOST_PLANS = 60
_DEEP = 5
"""Convolutions from which on adaptive pooling is usual, as in AlexNet and VGG of torchvision."""
_KEPT_PER_SIZE, _KEPT = 60, 600
"""Unfinished plans that are followed, of one size of the maps and in all."""


@dataclass(frozen=True)
class Window:
    """A pooling."""

    side: int
    stride: int
    padding: int = 0

    def after(self, side: int) -> int:
        """The side of the map that it gives; 0 if it has no place."""
        return _after(side, self.side, self.stride, self.padding)


_WINDOWS: dict[Window | None, float] = {
    None: 0.0,
    Window(2, 2): 0.0,
    Window(3, 2): 2.0,
    Window(3, 2, 1): 2.0,
    Window(3, 3): 3.0,
    Window(4, 4): 3.0,
    Window(2, 1): 5.0,
    Window(3, 1): 6.0,
}


@dataclass(frozen=True)
class Place:
    """How one convolution stands in the chain.

    Attributes:
        stride: of the convolution, both ways.
        padding: of its rows and columns.
        pool: what pools behind it.
    """

    stride: int
    padding: Size
    pool: Window | None


@dataclass(frozen=True)
class Plan:
    """All convolutions of a chain.

    Attributes:
        places: one for each.
        reduce: what brings the last maps to ``side``.
        side: rows and columns of the maps that are flattened.
        convolved: of those that the last convolution gives.
        pooled: of those after its pooling, before ``reduce``.
        cost: how unusual it is.
        macs: multiply-accumulates of one image.
    """

    places: tuple[Place, ...]
    reduce: Reduce
    side: Size
    convolved: Size
    pooled: Size
    cost: float
    macs: int


@dataclass(frozen=True)
class _Part:
    """A plan of the first convolutions; what the costs of the next depend on."""

    places: tuple[Place, ...] = ()
    size: Size = (0, 0)
    convolved: Size = (0, 0)
    cost: float = 0.0
    macs: int = 0
    style: str = ""
    window: Window | None = None
    pooled: bool | None = None
    changes: int = 0
    surprises: int = 0

    @property
    def whole(self) -> float:
        """Cost with that of irregular pooling: after every, every second ..., or at new widths."""
        return self.cost + 0.8 * min(self.changes, self.surprises)


def _after(side: int, kernel: int, stride: int, padding: int) -> int:
    room = side + 2 * padding - kernel
    return room // stride + 1 if room >= 0 else 0


def plans(chain: Chain, size: Size, strangest: float = 6.0) -> list[Plan]:
    """The most usual plans for images of a size, most usual first; empty if there is none.

    Args:
        chain: with at least one convolution.
        size: rows and columns of the images.
        strangest: what one choice may cost.
    """
    steps = chain.convolutions
    last = len(steps) - 1

    @cache
    def options(place: int, size: Size) -> list[_Option]:
        at_end = place == last and bool(chain.linears)
        found = _options(steps[place], size, at_end)
        return [one for one in found if one[2] <= strangest]

    @cache
    def reaches(place: int, size: Size) -> bool:
        if place > last:
            return bool(_ends(chain, size))
        afters = dict.fromkeys(after for _, after, _ in options(place, size))
        return any(reaches(place + 1, after) for after in afters)

    parts = [_Part(size=size)]
    for place, step in enumerate(steps):
        widens = place == last or steps[place + 1].width > step.width
        grown = [
            _grown(part, step, choice, after, cost, widens)
            for part in parts
            for choice, after, cost in options(place, part.size)
            if reaches(place + 1, after)
        ]
        parts = _best(grown)
    found = [
        Plan(part.places, reduce, side, part.convolved, part.size, part.whole + cost, part.macs)
        for part in parts
        for reduce, side, cost in _ends(chain, part.size)
        if _room_at_end(steps[last], chain, part.places[-1], reduce)
    ]
    if len(steps) < _DEEP and all(plan.reduce == "adaptive" for plan in found):
        return []  # it would make images of any size fit
    return sorted(found, key=lambda plan: plan.cost)[:_MOST_PLANS]


def _best(parts: list[_Part]) -> list[_Part]:
    """The cheapest of each size, and of those the cheapest."""
    counts: dict[Size, int] = {}
    kept = []
    for part in sorted(parts, key=lambda part: part.whole):
        counts[part.size] = counts.get(part.size, 0) + 1
        if counts[part.size] <= _KEPT_PER_SIZE:
            kept.append(part)
    return kept[:_KEPT]


def _ends(chain: Chain, size: Size) -> list[tuple[Reduce, Size, float]]:
    """How maps of a size become the inputs of the head, and how unusual that is."""
    wanted = chain.places
    if wanted is None or wanted == 1:
        one: Size = (1, 1)
        if max(size) == 1:
            return [("", one, 0.0)]
        # A network that pools globally leaves maps of some pixels to average, about 4 x 4.
        return [("global", one, 0.5 + 0.5 * abs(math.log2(size[0] / 4)))]
    if math.prod(size) == wanted:
        return [("", size, 0.0)]
    root = math.isqrt(wanted)
    return [("adaptive", (root, root), 4.0)] if root**2 == wanted else []


def _room_at_end(step: Step, chain: Chain, place: Place, reduce: Reduce) -> bool:
    if not chain.linears:
        return True
    return may_stand(step, pooled=place.pool is not None, reduced=bool(reduce), flattened=True)


_Option = tuple[Place, Size, float]
"""How a convolution may stand in the chain, the maps behind it, and how unusual that is."""


def _options(step: Step, size: Size, at_end: bool) -> list[_Option]:
    rows, columns = step.layer.size[2:]
    room = may_stand(step, pooled=True, reduced=False, flattened=at_end)
    silence = {pooled: _silence(step, pooled, at_end) for pooled in (False, True)}
    found = []
    for stride, padding in product(_strides(rows, room), _paddings(rows, columns)):
        before = _convolved(step, size, stride[0], padding[0])
        for window, cost in _WINDOWS.items():
            after = before if window is None else tuple(map(window.after, before))
            if min(after) > 0 and (window is None or room):
                place = Place(stride[0], padding[0], window)
                cost += stride[1] + padding[1] + silence[window is not None]
                found.append((place, (after[0], after[1]), cost))
    return found


def _silence(step: Step, pooled: bool, at_end: bool) -> float:
    """The cost of layers without weights that nothing explains."""
    words = arranged(step, next(iter(STYLES)), pooled=pooled, reduced=False, flattened=at_end)
    return 0.7 * min(unexplained(step, words), 2) if words else 0.0


def _strides(kernel: int, room: bool) -> Iterator[tuple[int, float]]:
    """Strides of a kernel; more usual where there is no room for pooling."""
    yield 1, float(kernel in (2, 4) or kernel > 7)
    if kernel == 1:
        yield 2, 4.0
    else:
        yield 2, 0.0 if kernel in (2, 4) else 1.5 if room else 0.5
    if kernel >= 3:
        yield 3, 3.0
    if kernel >= 4:
        yield 4, 0.0 if kernel > 7 else 3.0


def _paddings(rows: int, columns: int) -> list[tuple[Size, float]]:
    same: Size = ((rows - 1) // 2, (columns - 1) // 2)
    found: dict[Size, float] = {(0, 0): 0.0}
    found.setdefault(same, 0.0)
    for pad in range(1, min(rows, columns)):
        usual = 2.0 if pad == rows // 2 else 3.0
        found.setdefault((pad, pad), usual)
    if (rows, columns) == (1, 1):
        found[1, 1] = 5.0
    return list(found.items())


def _convolved(step: Step, size: Size, stride: int, padding: Size) -> Size:
    rows, columns = step.layer.size[2:]
    return (
        _after(size[0], rows, stride, padding[0]),
        _after(size[1], columns, stride, padding[1]),
    )


def _grown(part: _Part, step: Step, place: Place, size: Size, cost: float, widens: bool) -> _Part:
    rows, columns = step.layer.size[2:]
    style = part.style
    if rows > 1:
        same = place.padding == ((rows - 1) // 2, (columns - 1) // 2)
        style = "same" if same else "none" if place.padding == (0, 0) else "other"
        cost += bool(part.style) and style != part.style
    convolved = _convolved(step, part.size, place.stride, place.padding)
    window = place.pool or part.window
    cost += 3.0 * (part.window is not None and window != part.window)
    pooled = place.pool is not None
    return _Part(
        places=(*part.places, place),
        size=size,
        convolved=convolved,
        cost=part.cost + cost,
        macs=part.macs + math.prod(step.layer.size) * math.prod(convolved),
        style=style,
        window=window,
        pooled=pooled,
        changes=part.changes + (part.pooled is not None and part.pooled != pooled),
        surprises=part.surprises + ((pooled or place.stride > 1) != widens),
    )


_SIDES = (8, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96, 112, 128, 160, 192, 224, 227, 256, 299)


def fitting_sides(chain: Chain) -> list[int]:
    """Sides of square images that a chain with convolutions takes most naturally; at most three."""
    costs: dict[int, float] = {}
    for side in _SIDES:
        best = next(iter(plans(chain, (side, side), strangest=1.5)), None)
        if best is not None and best.reduce != "adaptive":
            costs[side] = best.cost
    return sorted(sorted(costs, key=lambda side: costs[side])[:3])
