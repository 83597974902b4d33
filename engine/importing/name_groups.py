"""Which names of a state dict are those of the network: prefixes, parts, and what lies beside it.

A wrapper puts its attribute before every name (``net.``, ``backbone.``, ``module.model.``); a
program for training keeps several networks (``student.``, ``teacher.``), metrics and the weights of
losses in one module. Whether what is left without a prefix is a network, its architecture tells.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from engine.errors import ModelError
from engine.importing.read import State

PREFIXES = ("module", "basic_model", "basic_net", "model", "_orig_mod", "_fsdp_wrapped_module",
            "_checkpoint_wrapped_module", "_forward_module")  # fmt: skip
"""DataParallel, AttackPGD of Ye 2019 and Goldblum 2020, wrappers for normalisation, compile, FSDP,
activation checkpoints, DeepSpeed: never an attribute of the network itself."""

_WITHIN = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Those that stand in the middle of names, where a part was wrapped."""

_OF = r"_?(?:(?:pixel|norm|normali[sz](?:e|er|ation)|input|image|img|data|dataset|channel)_?)?"
_MEAN = re.compile(rf"{_OF}(?:mean|means|avg|mu|mus)_?", re.IGNORECASE)
_STD = re.compile(rf"{_OF}(?:std|stds|sd|sds|sigma|sigmas|stdv|stdev|std_?dev)_?", re.IGNORECASE)
_MOST_CHANNELS = 16
_BYTE = 255.0
_FEWEST_MATRICES = 2
"""A network has more than one layer; a single matrix is a head, a loss, or a confusion matrix."""
_DEEPEST = 2
_MOST_PARTS = 24
_BESIDE = re.compile(
    r"(?:.*_)?(?:metrics?|acc|accuracy|auroc|f1|confmat|loss|losses|criterion|queue)"
    r"(?:_fn|_weights?|_?\d+)?|n_averaged|num_updates|global_step|epoch|ema_decay",
    re.IGNORECASE,
)
"""Names of what training needs beside a network."""

Scale = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Group:
    """Some names of a state dict as those of a network.

    Attributes:
        part: what the user calls it: the prefix without its last dot; empty for all names.
        state: the tensors, without prefix.
        prefix: what was taken off; of some names only if ``some``.
        some: whether other names are kept as they are.
        left: names that are left aside.
        scaling: mean and std of a normalisation before it, and their names.
    """

    part: str
    state: State
    prefix: str = ""
    some: bool = False
    left: tuple[str, ...] = ()
    scaling: Scale | None = None
    scaled_by: tuple[str, str] = ("", "")
    original: dict[str, str] = field(default_factory=dict)

    def steps(self) -> list[str]:
        """How it was found, in words."""
        words = []
        if self.prefix:
            words.append(f"prefix {self.prefix!r}{' of some names' if self.some else ''}")
        if self.scaling:
            words.append(f"normalisation inside ({', '.join(self.scaled_by)})")
        return words


def wholes(state: State, name: str) -> Iterator[Group]:
    """All names as those of one network, under each prefix that all of them have.

    First without the prefixes of known wrappers, then with fewer and more of them, then without
    one that only some names have.

    Raises:
        ModelError: there is a normalisation inside that makes no sense.
    """
    inner = {_unwrapped(key): key for key in state}
    if len(inner) != len(state):
        inner = {key: key for key in state}
    rest, scaling, names = _without_scaling({new: state[old] for new, old in inner.items()}, name)
    if not rest:
        return
    levels = list(_levels(rest))
    first = next(
        (place for place, prefix in enumerate(levels)
         if place + 1 == len(levels) or _last(levels[place + 1]) not in PREFIXES), 0
    )  # fmt: skip
    order = sorted(range(len(levels)), key=lambda place: (place != first, place))
    for prefix in (levels[place] for place in order):
        yield _group("", rest, {key: key[len(prefix) :] for key in rest}, prefix, (),
                     scaling, names, inner)  # fmt: skip
    base = levels[-1]
    for one in _first_parts(rest, base):
        prefix = f"{base}{one}."
        short = {key: key[len(prefix if key.startswith(prefix) else base) :] for key in rest}
        if len(set(short.values())) == len(short):
            yield _group("", rest, short, prefix, (), scaling, names, inner, some=True)


def _group(
    part: str,
    state: State,
    short: dict[str, str],
    prefix: str,
    left: tuple[str, ...],
    scaling: Scale | None,
    names: tuple[str, str],
    inner: dict[str, str],
    some: bool = False,
) -> Group:
    return Group(
        part,
        {new: state[old] for old, new in short.items()},
        prefix,
        some,
        left,
        scaling,
        names,
        {new: inner.get(old, old) for old, new in short.items()},
    )


def parts(state: State, name: str) -> Iterator[Group]:
    """Groups of names that may be a network each, the largest first; the rest is left aside."""
    found = list(_nested(state, "", 0))[:_MOST_PARTS]
    for prefix in sorted(found, key=lambda one: -_matrices(state, one)):
        yield from part_of(state, prefix, name)


def part_of(state: State, prefix: str, name: str) -> Iterator[Group]:
    """The names under one prefix as those of a network."""
    own = {key: value for key, value in state.items() if key.startswith(prefix)}
    others = {key: value for key, value in state.items() if key not in own}
    rest, scaling, names = others, None, ("", "")
    pairs = _scalings(own)
    if not pairs and len(_scalings(others)) == 1:
        rest, scaling, names = _without_scaling(others, name)
    for one in wholes(own, name):
        if not one.some:
            yield Group(prefix.removesuffix("."), one.state, one.prefix, False, tuple(rest),
                        one.scaling or scaling, one.scaled_by if one.scaling else names,
                        one.original)  # fmt: skip


def matrices_of(state: State, names: tuple[str, ...]) -> list[str]:
    """Those of some names that are weights of a network, by their form and what they are called."""
    return [
        key for key in names
        if state[key].is_floating_point() and state[key].dim() >= 2 and state[key].numel() > 1
        and not any(_BESIDE.fullmatch(one) for one in key.split(".")[:-1] or [key])
    ]  # fmt: skip


def vectors_of(state: State, names: tuple[str, ...]) -> list[str]:
    """Those that a forward pass might use although they are no matrices."""
    return [
        key for key in names
        if state[key].is_floating_point() and state[key].dim() < 2
        and not any(_BESIDE.fullmatch(one) for one in key.split("."))
    ]  # fmt: skip


def are_copies(matrices: list[torch.Tensor], state: State) -> bool:
    """Whether matrices have shapes that a network has at least as often."""
    counts = Counter(tuple(one.shape) for one in matrices)
    return counts <= Counter(tuple(one.shape) for one in state.values())


def summary(names: tuple[str, ...]) -> str:
    """Names in words, those of one part together: ``teacher. (131 tensors), n_averaged``."""
    counts: dict[str, int] = {}
    for key in names:
        first, dot, _ = key.partition(".")
        counts[first + dot] = counts.get(first + dot, 0) + 1
    shown = [
        f"{key} ({count} tensor{'s' if count > 1 else ''})" if key.endswith(".") else key
        for key, count in list(counts.items())[:8]
    ]
    return ", ".join([*shown, "..."] if len(counts) > 8 else shown)


def _unwrapped(key: str) -> str:
    return ".".join(one for one in key.split(".") if one not in _WITHIN)


def _levels(state: State) -> Iterator[str]:
    """The prefixes that all names have, from none to the longest; each ends in a dot."""
    prefix = ""
    while True:
        yield prefix
        firsts = {key[len(prefix) :].partition(".")[:2] for key in state}
        if len(firsts) != 1 or not next(iter(firsts))[1]:
            return
        prefix += f"{next(iter(firsts))[0]}."


def _last(prefix: str) -> str:
    return prefix.rstrip(".").rpartition(".")[2]


def _first_parts(state: State, base: str) -> list[str]:
    """What names begin with behind a prefix, where it stands before two matrices or more."""
    firsts = dict.fromkeys(
        key[len(base) :].partition(".")[0] for key in state if "." in key[len(base) :]
    )
    return [one for one in firsts if _matrices(state, f"{base}{one}.") >= _FEWEST_MATRICES]


def _nested(state: State, base: str, depth: int) -> Iterator[str]:
    if depth == _DEEPEST:
        return
    own = {key: value for key, value in state.items() if key.startswith(base)}
    longest = list(_levels({key[len(base) :]: value for key, value in own.items()}))[-1]
    firsts = _first_parts(own, base + longest)
    for one in firsts:
        yield f"{base}{longest}{one}."
    for one in firsts:
        yield from _nested(state, f"{base}{longest}{one}.", depth + 1)


def _matrices(state: State, prefix: str) -> int:
    return sum(
        key.startswith(prefix) and value.dim() >= 2 and value.is_floating_point()
        for key, value in state.items()
    )


def _scalings(state: State) -> list[tuple[str, str]]:
    """Names of the mean and the std of a normalisation, by name and form."""
    found = []
    for key, value in state.items():
        owner, _, last = key.rpartition(".")
        if not _MEAN.fullmatch(last) or not _per_channel(value):
            continue
        stds = [
            other for other, one in state.items()
            if other.rpartition(".")[0] == owner and _STD.fullmatch(other.rpartition(".")[2])
            and _per_channel(one)
        ]  # fmt: skip
        if len(stds) == 1:
            found.append((key, stds[0]))
    return found


def _per_channel(value: torch.Tensor) -> bool:
    """One number or one for each channel: (C,), (C, 1, 1), (1, C, 1, 1), ()."""
    return value.numel() <= _MOST_CHANNELS and sum(side > 1 for side in value.shape) <= 1


def _without_scaling(state: State, name: str) -> tuple[State, Scale | None, tuple[str, str]]:
    """The tensors but for one normalisation, and what it is."""
    pairs = _scalings(state)
    if len(pairs) != 1:
        return state, None, ("", "")
    mean, std = pairs[0]
    rest = {key: value for key, value in state.items() if key not in pairs[0]}
    centre, width = (tuple(state[key].real.flatten().double().tolist()) for key in pairs[0])
    channels = _channels(rest)
    if not len(centre) == len(width) in (1, channels) or not (
        all(-1e9 < value < 1e9 for value in centre) and all(0 < one < 1e9 for one in width)
    ):
        raise ModelError(
            f"The checkpoint {name} normalises by {mean} = {_short(centre)} and {std} = "
            f"{_short(width)}, but each must hold 1 or {channels} finite numbers, and "
            f"{std} numbers above 0.",
            "Where these are of something else, leave them out of the state dict.",
        )
    if max(centre) > 2:  # of pixels from 0 to 255
        centre, width = (tuple(one / _BYTE for one in part) for part in (centre, width))
    return rest, (centre, width), pairs[0]


def _short(numbers: tuple[float, ...]) -> str:
    shown = ", ".join(f"{one:g}" for one in numbers[:4])
    return f"({shown}, ... {len(numbers)} numbers)" if len(numbers) > 4 else f"({shown})"


def _channels(state: State) -> int:
    """Of the images: what the first convolution reads."""
    first = next((value.shape[1] for value in state.values() if value.dim() == 4), 3)
    return int(first) if first in (1, 3) else 3
