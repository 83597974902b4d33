"""All networks that a chain may be, the usual first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product

from engine.importing.chains.activations import ACTIVATIONS, MOBILE, PAIRS, PRELU, RELU
from engine.importing.chains.arrangement import STYLES, Style, Word, arranged
from engine.importing.chains.geometry import Plan, Size, Window, plans
from engine.importing.chains.network import (
    Activate,
    Convolve,
    Flatten,
    Multiply,
    Normalise,
    Operation,
    Pool,
    Reduce,
    is_trivial,
)
from engine.importing.chains.reading import Chain, Step

MOST = 400
"""Networks that are tried."""
_MOST_TRIED = 12_000
"""Combinations that are looked at for them."""


@dataclass(frozen=True)
class Candidate:
    """One network.

    Attributes:
        number: by which it is chosen: its place among all, from 1.
        operations: what it does with images.
        cost: how unusual it is.
        macs: multiply-accumulates of one image.
        words: what of it no state dict tells.
    """

    number: int
    operations: tuple[Operation, ...]
    cost: float
    macs: int
    words: str


@dataclass(frozen=True)
class _Choice:
    """What is open beside the plan of the convolutions."""

    convolved: str = RELU
    multiplied: str = RELU
    style: Style = ("norm", "act", "pool")
    largest: bool = True
    reduces_by_largest: bool = False
    by_pixel: bool = False
    at_end: bool = False


def candidates(chain: Chain, shape: tuple[int, int, int]) -> list[Candidate]:
    """The most usual networks for images of a shape; the same for the same chain and shape.

    Args:
        chain: the layers.
        shape: (C, H, W) of the images.

    Returns:
        At most ``MOST``, the most usual first; empty if no such image fits.
    """
    if chain.channels not in (None, shape[0]):
        return []
    if not chain.convolutions:
        found = (
            [Plan((), "", shape[1:], shape[1:], shape[1:], 0.0, 0)]
            if chain.inputs == math.prod(shape)
            else []
        )
    else:
        found = plans(chain, shape[1:])
    dense = sum(math.prod(one.layer.size) for one in chain.linears)
    unique: dict[tuple[Operation, ...], tuple[float, int]] = {}
    maps = chain.convolutions[-1].width if chain.convolutions else shape[0]
    for cost, plan, choice in _cheapest(chain, found, maps):
        operations = _operations(chain, plan, choice)
        if operations is not None:
            unique.setdefault(operations, (cost, plan.macs + dense))
        if len(unique) == MOST:
            break
    return [
        Candidate(place + 1, operations, cost, macs, in_words(operations))
        for place, (operations, (cost, macs)) in enumerate(unique.items())
    ]


def _cheapest(chain: Chain, found: Sequence[Plan], maps: int) -> list[tuple[float, Plan, _Choice]]:
    choices = list(_choices(chain))
    sums = [
        (plan.cost + cost, plan, choice)
        for plan, (choice, cost) in product(found, choices)
        if _matters(plan, choice, maps)
    ]
    return sorted(sums, key=lambda one: one[0])[:_MOST_TRIED]


def _matters(plan: Plan, choice: _Choice, maps: int) -> bool:
    """Whether what is chosen is there to be chosen, and makes a difference."""
    pools = any(place.pool for place in plan.places)
    alike = choice.largest == choice.reduces_by_largest
    twice = plan.reduce == "global" and plan.places[-1].pool is not None and alike
    return (
        (choice.largest or pools)
        and (not choice.reduces_by_largest or bool(plan.reduce))
        and (not choice.by_pixel or (maps > 1 and math.prod(plan.side) > 1))
        and not twice
    )


def _choices(chain: Chain) -> Iterator[tuple[_Choice, float]]:
    both = bool(chain.convolutions) and len(chain.linears) > 1
    mobile = any(step.groups > 1 for step in chain.convolutions)
    costs = {one: kind.cost for one, kind in ACTIVATIONS.items()} | (MOBILE if mobile else {})
    acts = {(one, one): cost for one, cost in costs.items()} | (PAIRS if both else {})
    # A head of convolutions may be activated as well before it is pooled.
    ends = (False, True) if not chain.linears else (False,)
    for (acting, acted), (style, unusual), mean, peak, by_pixel, at_end in product(
        acts.items(), STYLES.items(), (False, True), (False, True), (False, True), ends
    ):
        choice = _Choice(*acting, style, not mean, peak, by_pixel, at_end)
        yield choice, acted + unusual + 2.0 * mean + 2.0 * peak + 4.0 * by_pixel + 1.0 * at_end


def _operations(chain: Chain, plan: Plan, choice: _Choice) -> tuple[Operation, ...] | None:
    """What is done, one after the other; None if the numbers of the layers leave no room."""
    found: list[Operation] = []
    flat = not chain.convolutions
    if flat:
        found.append(Flatten(choice.by_pixel))
    found += [Normalise(part, flat) for part in chain.first]
    last = len(chain.steps) - 1
    for place, step in enumerate(chain.steps):
        conv = step.layer.kind == "conv"
        if conv:
            at = plan.places[place]
            found.append(Convolve(step.layer, step.groups, at.stride, at.padding))
        else:
            found.append(Multiply(step.layer))
        words = _words_behind(chain, plan, choice, place)
        if words is None:
            return None
        if place == last:
            words = tuple(one for one in words if one != "act" or (conv and choice.at_end))
        here = [
            one for word in words for one in _operation(word, step, plan, choice, place, not conv)
        ]
        found += _settled(here)
    return tuple(one for one in found if not is_trivial(one))


def _words_behind(chain: Chain, plan: Plan, choice: _Choice, place: int) -> tuple[Word, ...] | None:
    step = chain.steps[place]
    conv = step.layer.kind == "conv"
    ends = place == len(chain.convolutions) - 1
    return arranged(
        step,
        choice.style,
        pooled=conv and plan.places[place].pool is not None,
        reduced=ends and bool(plan.reduce),
        flattened=ends,
    )


def _operation(
    word: Word, step: Step, plan: Plan, choice: _Choice, place: int, flat: bool
) -> Iterator[Operation]:
    match word:
        case "norm" | "flat norm":
            behind = word == "flat norm"
            part = next(one for one in step.small
                        if one.kind == "norm" and step.flat(one) == behind)  # fmt: skip
            yield Normalise(part, flat or behind)
        case "act":
            own = next((one for one in step.small if one.kind == "prelu"), None)
            yield (
                Activate(choice.multiplied if flat else choice.convolved)
                if own is None
                else (Activate(PRELU, own))
            )
        case "pool":
            window = plan.places[place].pool
            assert window is not None
            whole = plan.convolved == (window.side, window.side) and plan.side == (1, 1)
            ends = place == len(plan.places) - 1 and not plan.reduce
            yield Reduce(choice.largest, (1, 1)) if whole and ends else Pool(choice.largest, window)
        case "reduce":
            largest, times = choice.reduces_by_largest, plan.pooled[0] // plan.side[0]
            even = plan.pooled == (times * plan.side[0], times * plan.side[1])
            yield (
                Pool(largest, Window(times, times))
                if even and plan.side != (1, 1)
                else Reduce(largest, plan.side)
            )
        case "flatten":
            yield Flatten(choice.by_pixel)


def _settled(operations: list[Operation]) -> list[Operation]:
    """The same with an activation before the largest of a pooling where the order is all one."""
    found = list(operations)
    for place in range(len(found) - 1):
        one, other = found[place], found[place + 1]
        if (
            isinstance(one, Pool | Reduce)
            and one.largest
            and isinstance(other, Activate)
            and other.part is None
            and ACTIVATIONS[other.id].rises
        ):
            found[place], found[place + 1] = other, one
    return found


# -- in words ------------------------------------------------------------------------------------


def in_words(operations: Sequence[Operation]) -> str:
    """What no state dict tells: activations, their order, pooling, strides, padding."""
    parts = [
        _activations(operations),
        _norms(operations),
        *_pools(operations),
        *_strides(operations),
        _paddings(operations),
        *_ends(operations),
    ]
    return ", ".join(part for part in parts if part)


def _convolutions(operations: Sequence[Operation]) -> list[Convolve]:
    return [one for one in operations if isinstance(one, Convolve)]


def _activations(operations: Sequence[Operation]) -> str:
    names: dict[str, set[str]] = {"convolutions": set(), "linear layers": set()}
    where, acted = "", True
    for one in operations:
        if isinstance(one, Convolve | Multiply):
            if not acted:
                names[where].add("no activation")
            where = "convolutions" if isinstance(one, Convolve) else "linear layers"
            acted = False
        elif isinstance(one, Activate):
            names[where].add("PReLU" if one.part else ACTIVATIONS[one.id].label)
            acted = True
    said = {where: " or ".join(sorted(found)) for where, found in names.items() if found}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return " and ".join(f"{found} after {where}" for where, found in said.items())


def _norms(operations: Sequence[Operation]) -> str:
    places: set[str] = set()
    acted = pooled = False
    for one in operations:
        if isinstance(one, Convolve | Multiply):
            acted = pooled = False
        acted |= isinstance(one, Activate)
        pooled |= isinstance(one, Pool)
        if isinstance(one, Normalise):
            behind = [*(["the activation"] if acted else []), *(["pooling"] if pooled else [])]
            places.add(f"behind {' and '.join(behind)}" if behind else "before the activation")
    return f"BatchNorm {' or '.join(sorted(places))}" if places else ""


def _pools(operations: Sequence[Operation]) -> Iterator[str]:
    found: dict[tuple[Pool, bool], list[int]] = {}
    place, acted = 0, False
    for one in operations:
        if isinstance(one, Convolve):
            place, acted = place + 1, False
        acted |= isinstance(one, Activate)
        if isinstance(one, Pool):
            found.setdefault((one, acted), []).append(place)
    acts = any(isinstance(one, Activate) for one in operations)
    for (pool, behind), places in found.items():
        side, stride = pool.window.side, pool.window.stride
        kind = "max" if pool.largest else "average"
        more = f" with stride {stride}" if stride != side else ""
        more += f" and padding {pool.window.padding}" if pool.window.padding else ""
        early = "" if behind or not acts else " before the activation"
        yield f"{side}x{side} {kind} pooling{more} after {_counted(places)}{early}"


def _counted(places: Sequence[int]) -> str:
    numbers = [str(one) for one in places]
    if len(numbers) == 1:
        return f"convolution {numbers[0]}"
    return f"convolutions {', '.join(numbers[:-1])} and {numbers[-1]}"


def _strides(operations: Sequence[Operation]) -> Iterator[str]:
    strides = [one.stride for one in _convolutions(operations)]
    for stride in sorted(set(strides) - {1}):
        places = [place + 1 for place, one in enumerate(strides) if one == stride]
        yield f"stride {stride} in {_counted(places)}"


def _paddings(operations: Sequence[Operation]) -> str:
    def said(padding: Size) -> str:
        return str(padding[0]) if padding[0] == padding[1] else "x".join(map(str, padding))

    found = [one.padding for one in _convolutions(operations) if one.part.size[2:] != (1, 1)]
    found = found or [one.padding for one in _convolutions(operations)]
    if not found:
        return ""
    if set(found) == {(0, 0)}:
        return "no padding"
    groups = [(said(padding), len(list(run))) for padding, run in groupby(found)]
    if len(groups) == 1:
        return f"padding {groups[0][0]}"
    return "paddings " + ", ".join(f"{text} ({count} times)" if count > 1 else text
                                   for text, count in groups)  # fmt: skip


def _ends(operations: Sequence[Operation]) -> Iterator[str]:
    for one in operations:
        if isinstance(one, Reduce):
            kind = "max" if one.largest else "average"
            rows, columns = one.side
            yield (
                f"global {kind} pooling"
                if one.side == (1, 1)
                else f"adaptive {kind} pooling to {rows}x{columns}"
            )
        elif isinstance(one, Flatten) and one.by_pixel:
            yield "flattened pixel by pixel instead of channel by channel"
    if isinstance(operations[-1], Activate):
        yield "activated at its end"
