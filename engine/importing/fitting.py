"""How the tensors of a file go into a network of a person's own, by names and shapes."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from engine.importing.read import State

Shape = tuple[int, ...] | None
"""Of a tensor; None where the network takes it from the weights (``nn.LazyLinear``)."""

Row = tuple[str, str, str, str, str]

COUNTERS = "num_batches_tracked"
"""Old versions of torch had none; torch sets them itself."""

_MOST_PREFIXES = 8
_ALIKE = 0.5
"""Likeness of names (difflib) above which one may be the other's new name."""

HEADINGS = ("in the network", "shape", "in the file", "shape", "what")


@dataclass(frozen=True)
class Fitting:
    """Tensors laid beside a network; nothing is loaded.

    Attributes:
        state: all tensors of the file, under the network's names where it has them.
        names: of the network to those of the file, for all in ``state``.
        missing: names of the network that the file lacks.
        left: names in ``state`` that the network has no place for.
        wrong: names of both, with different shapes.
        prefix: what came off the names of the file, and what was put before them.
    """

    state: State
    names: Mapping[str, str]
    missing: tuple[str, ...]
    left: tuple[str, ...]
    wrong: tuple[str, ...]
    prefix: tuple[str, str]

    @property
    def errors(self) -> int:
        """Tensors that do not fit."""
        return len(self.missing) + len(self.left) + len(self.wrong)


def shapes_of(state: Mapping[str, Any]) -> dict[str, Shape]:
    """The shapes of all tensors of a state dict of a network."""
    return {
        key: None if is_lazy(value) else tuple(value.shape)
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def fit(network: Mapping[str, Shape], state: State) -> Fitting:
    """Lay tensors beside a network; a prefix that most names of either have may differ."""
    found = [
        _laid(network, state, off, before)
        for off in _prefixes(state)
        for before in _prefixes(network)
    ]
    return min(found, key=lambda one: (one.errors, len("".join(one.prefix))))


def _prefixes(names: Iterable[str]) -> list[str]:
    """Beginnings that at least half of the names share, with their dot; first none."""
    names = list(names)
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")[:-1][:_MOST_PREFIXES]
        counts.update(".".join(parts[: end + 1]) + "." for end in range(len(parts)))
    return ["", *(one for one, count in counts.items() if 2 * count >= len(names))]


def _laid(network: Mapping[str, Shape], state: State, off: str, before: str) -> Fitting:
    names: dict[str, str] = {}
    for key in state:
        ours = before + key.removeprefix(off)
        # What stands beside a wrapped network, such as its normalisation, has no prefix.
        ours = ours if ours in network or key not in network else key
        names[key if ours in names else ours] = key
    renamed = {ours: state[key] for ours, key in names.items()}
    return Fitting(
        state=renamed,
        names=names,
        missing=tuple(key for key in network if key not in renamed and not key.endswith(COUNTERS)),
        left=tuple(key for key in renamed if key not in network),
        wrong=tuple(
            key
            for key, value in renamed.items()
            if network.get(key) is not None and tuple(value.shape) != network[key]
        ),
        prefix=(off, before),
    )


def complaint(fitting: Fitting, network: str) -> str:
    """How much does not fit, in words."""
    missing, left, wrong = (len(one) for one in (fitting.missing, fitting.left, fitting.wrong))
    parts = [
        f"it lacks {_tensors(missing)} of {network}" if missing else "",
        f"it holds {_tensors(left)} that {network} has no place for" if left else "",
        f"{_tensors(wrong)} {'is' if wrong == 1 else 'are'} of another shape" if wrong else "",
    ]
    return "; ".join(part for part in parts if part)


def _tensors(count: int) -> str:
    return f"{count} tensor{'' if count == 1 else 's'}"


def table(network: Mapping[str, Shape], fitting: Fitting) -> tuple[tuple[str, ...], ...]:
    """What does not fit, a row for each, beside what it may be in the other."""
    state, names = fitting.state, fitting.names
    renamed = alike(network, fitting)
    rows: list[Row] = [
        (key, size(network[key]), names[key], size(state[key].shape), "another shape")
        for key in fitting.wrong
    ]
    for key in fitting.missing:
        other = renamed.get(key)
        if other is None:
            rows.append((key, size(network[key]), "", "", "missing in the file"))
        else:
            shape = size(state[other].shape)
            rows.append((key, size(network[key]), names[other], shape, "another name?"))
    rows += [
        ("", "", names[key], size(state[key].shape), "left over")
        for key in fitting.left
        if key not in renamed.values()
    ]
    return (HEADINGS, *rows)


def alike(network: Mapping[str, Shape], fitting: Fitting) -> dict[str, str]:
    """Names that the file lacks, and those left over in it that may be the same tensor.

    They have the same shape, and names that are alike or end alike.
    """
    found: dict[str, str] = {}
    free = list(fitting.left)
    for key in fitting.missing:
        of_shape = [one for one in free if tuple(fitting.state[one].shape) == network[key]]
        best = max(of_shape, key=lambda one: _likeness(key, one), default=None)
        if best is not None and _likeness(key, best) >= _ALIKE:
            found[key] = best
            free.remove(best)
    return found


def _likeness(one: str, other: str) -> float:
    ends = one.rpartition(".")[2] == other.rpartition(".")[2]
    return difflib.SequenceMatcher(None, one, other).ratio() + (_ALIKE if ends else 0)


def size(shape: Shape) -> str:
    """A shape in words."""
    if shape is None:
        return "from the weights"
    return "x".join(map(str, shape)) or "a number"
