"""From what was saved to the state dicts in it, and to the one that is the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.errors import ModelError
from engine.importing import name_groups, state_dicts
from engine.importing.chains.reading import Chain
from engine.importing.fit import Fit
from engine.importing.name_groups import Group, Scale
from engine.importing.plain_tensors import DEQUANTISED, few, plain_tensors
from engine.importing.read import State
from engine.importing.recognise import NoArchitecture
from engine.importing.reparametrised import computed_weights
from engine.importing.stated import Stated, plain_number, stated_accuracy

_MOST_FACT = 1e15
"""Beyond this, a number beside the weights is no epoch and no accuracy."""


@dataclass
class Unwrapped:
    """A state dict of a file and how it was found.

    Attributes:
        part: what the user calls it.
        state: all its tensors in floating point, under their names there.
        steps: wrappers and prefixes in words.
        dropped: what was left out, and why.
        notes: what else was seen.
        scaling: mean and std per channel, if the checkpoint holds them.
        stated: accuracies that were saved beside the weights.
        saved: the same under the names that they were saved by, also those that a forward pass
            computes weights from.
        loading: Python that leads from the loaded file to the weights, and their prefix.
        masked: weights of the network that a mask holds at zero in places, by their names in
            the file.
    """

    part: str
    state: State
    steps: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scaling: Scale | None = None
    stated: Stated = ()
    saved: State = field(default_factory=dict)
    loading: tuple[str, str] = ("", "")
    masked: State = field(default_factory=dict)


@dataclass(frozen=True)
class Chosen:
    """The network of a file: where it was, which names it has, and how it fits."""

    found: Unwrapped
    group: Group
    fit: Fit | Chain

    @property
    def words(self) -> str:
        """What network it is."""
        return self.fit.words() if isinstance(self.fit, Chain) else self.fit.architecture


Fits = Callable[[Group], Fit | Chain]
"""How the tensors of a group sit in an architecture; it raises ModelError if in none."""


def unwrap(tree: Any, name: str, part: str | None, fits: Fits) -> Chosen:
    """Find the network in what was saved.

    Args:
        tree: what ``read`` gave.
        name: of the file.
        part: the state dict or the prefix to take, where the file holds several networks.
        fits: tells whether names and shapes are those of an architecture.

    Raises:
        ModelError: there are no weights, none fit, or it is not clear which are meant.
    """
    found, prefix, others = _found(tree, name, part)
    chosen = _choose(found, prefix, fits, name)
    chosen.found.notes += [
        f"The file also holds weights under {other!r}; to import those: --part {other}."
        for other in others
    ]
    return chosen


def as_saved(tree: Any, name: str, part: str | None) -> Unwrapped:
    """The state dict for a class of a person's own: what is a network, the class says.

    Args:
        tree: what ``read`` gave.
        name: of the file.
        part: the state dict or the prefix to take.

    Raises:
        ModelError: there are no weights, or it is not clear which are meant.
    """
    candidates, prefix, _ = _found(tree, name, part)
    if len(candidates) > 1:
        raise _which(candidates, name)
    found = candidates[0].read()
    if prefix is not None:
        found.saved = {key: one for key, one in found.saved.items() if key.startswith(prefix)}
        groups = name_groups.part_of(found.state, prefix, name)
    else:
        groups = name_groups.wholes(found.state, name)
    group = next(iter(groups), None)
    if group is None:
        raise ModelError(f"The checkpoint {name} holds no tensors.")
    _tell(found, group)
    found.loading = "".join(f"[{key!r}]" for key in candidates[0].path), group.prefix
    found.masked = {
        key: found.masked[old] for key, old in group.original.items() if old in found.masked
    }
    found.state = group.state
    return found


def _found(
    tree: Any, name: str, part: str | None
) -> tuple[list[_Candidate], str | None, list[str]]:
    """The state dicts that are meant, the prefix that is, and what others are called."""
    places, names = state_dicts.find(tree, name)
    first, prefix = state_dicts.meant(part, places, names, name)
    candidates = [
        _Candidate(path, weights, names[path], tree, name)
        for path, weights in places.items()
        if path in first
    ]
    others = [names[path] for path in places if path not in first and part is None]
    return candidates, prefix, others


@dataclass
class _Candidate:
    """A state dict that may be the network's; read when it is asked for."""

    path: state_dicts.Path
    weights: Mapping[Any, Any]
    part: str
    tree: Any
    name: str

    def read(self) -> Unwrapped:
        """Raises ModelError if its values are no weights."""
        plain = plain_tensors(self.weights, self.name)
        kinds = {
            str(one.dtype)[6:]
            for one in plain.state.values()
            if one.is_floating_point() and one.dtype != torch.float32
        }
        if kinds:
            plain.notes.append(
                f"Stored in {', '.join(sorted(kinds))}; computed in float32, so logits differ "
                "from those of the original precision."
            )
        # Before anything is computed: not all that is computed below can be in half precision.
        state = {k: v.float() if v.is_floating_point() else v for k, v in plain.state.items()}
        computed = computed_weights(state, self.name)
        stated = stated_accuracy(self.tree)
        steps = ["bare state dict"]
        if self.path:
            keys = ".".join(map(str, self.path))
            steps = [f"under {keys!r}", *_facts(self.tree, stated)]
        found = Unwrapped(self.part, computed.state, steps, stated=stated, masked=computed.masked)
        found.dropped = [*plain.dropped, *computed.dropped]
        found.notes = [*plain.notes, *computed.notes]
        found.saved = state
        if isinstance(self.tree, Mapping) and "admm" in self.tree:
            found.dropped.append("admm: the variables U and Z of ADMM training")
            found.notes.append(
                "Saved in the middle of ADMM training: the weights are pulled towards their "
                "pruned values, but are not pruned yet."
            )
        return found


def _choose(found: list[_Candidate], prefix: str | None, fits: Fits, name: str) -> Chosen:
    """The only network among some state dicts.

    Raises:
        ModelError: none fits, or several do.
    """
    fitting: list[Chosen] = []
    refused: list[ModelError] = []
    for one in found:
        try:
            unwrapped = one.read()
            fitting += _networks(unwrapped, prefix, fits, name)
        except ModelError as error:
            refused.append(error)
    if len(fitting) > 1:  # what ends in a convolution is seldom a classifier
        fitting = [one for one in fitting if not _headless(one)] or fitting
    if len(fitting) == 1:
        _tell(fitting[0].found, fitting[0].group)
        return fitting[0]
    if fitting:
        raise _several(fitting, name)
    if len(found) == 1:
        raise refused[0]
    raise _which(found, name)


def _which(found: list[_Candidate], name: str) -> ModelError:
    listed = isinstance(found[0].path[-1], int)
    return ModelError(
        f"The file {name} holds {f'a list of {len(found)}' if listed else 'several'} state dicts: "
        f"{few([one.part for one in found], 12)}.",
        f"Choose one, for example: --part {found[0].part}.",
        field="part",
    )


def _headless(chosen: Chosen) -> bool:
    return isinstance(chosen.fit, Chain) and not chosen.fit.linears


def _several(fitting: list[Chosen], name: str) -> ModelError:
    named = [(_part(one), one.words) for one in fitting]
    shown = few([f"{part} ({words})" for part, words in named], 12)
    return ModelError(
        f"The file {name} holds {len(fitting)} networks: {shown}.",
        f"Choose one, for example: --part {named[0][0]}.",
        field="part",
    )


def _part(chosen: Chosen) -> str:
    return ".".join(one for one in (chosen.found.part, chosen.group.part) if one)


def _networks(found: Unwrapped, prefix: str | None, fits: Fits, name: str) -> list[Chosen]:
    """What of a state dict is a network: all of it, else parts of its names.

    Raises:
        ModelError: nothing is.
    """
    reasons: list[ModelError] = []

    def fitted(group: Group) -> Chosen | None:
        try:
            return Chosen(found, group, fits(group))
        except ModelError as error:
            reasons.append(error)
            return None

    if prefix is not None:
        whole = _whole(name_groups.part_of(found.state, prefix, name), fitted)
    else:
        whole = _whole(name_groups.wholes(found.state, name), fitted)
    if whole is not None:
        return [whole]
    apart = _parts(found, fitted, name) if prefix is None else []
    if apart:
        return apart
    reason = _nearest(reasons) or ModelError(f"The checkpoint {name} holds no tensors.")
    reason.hint += "".join(f" {one}" for one in found.notes if one.startswith(DEQUANTISED))
    raise reason


def _whole(groups: Iterable[Group], fitted: Callable[[Group], Chosen | None]) -> Chosen | None:
    """The first that is of a family; else one that is a chain, which any prefix leaves one."""
    chain = None
    for one in map(fitted, groups):
        if one is not None and isinstance(one.fit, Fit):
            return one
        chain = chain or one
    return chain


def _parts(found: Unwrapped, fitted: Callable[[Group], Chosen | None], name: str) -> list[Chosen]:
    """Networks under prefixes of their own.

    Raises:
        ModelError: there is one, and weights beside it that may be another half of it.
    """
    fitting: dict[str, Chosen] = {}
    for group in name_groups.parts(found.state, name):
        one = None if _inside(f"{group.part}.", fitting) else fitted(group)
        if one is not None and not _headless(one):
            fitting[group.part] = one
    sound = [one for one in fitting.values() if _is_apart(one, fitting)]
    # Of a chain every end is a chain, too: it says nothing.
    alone = [one for one in fitting.values() if isinstance(one.fit, Fit)]
    if alone and not sound:
        raise _beside_others(alone[0], name)
    return sound


def _nearest(reasons: list[ModelError]) -> ModelError | None:
    """Of several reasons the one of the names that come nearest to a network."""
    return min(
        reasons, key=lambda one: one.wrong if isinstance(one, NoArchitecture) else 1, default=None
    )


def _beside_others(chosen: Chosen, name: str) -> ModelError:
    part = _part(chosen)
    left = name_groups.matrices_of(chosen.found.state, chosen.group.left)
    return ModelError(
        f"The file {name} holds a {chosen.words} under {part!r}, and other weights that "
        f"may belong to the same network: {name_groups.summary(tuple(left))}.",
        f"If the network is {part!r} alone: --part {part}.",
        field="part",
    )


def _inside(part: str, fitting: Mapping[str, Chosen]) -> bool:
    return any(part.startswith(f"{one}.") for one in fitting)


def _is_apart(one: Chosen, fitting: Mapping[str, Chosen]) -> bool:
    """Whether what is left aside is no half of the same network.

    It is not if it is other networks, copies of its weights as averages are, or no weights.
    """
    left = name_groups.matrices_of(one.found.state, one.group.left)
    return all(_inside(key, fitting) for key in left) or name_groups.are_copies(
        [one.found.state[key] for key in left if not _inside(key, fitting)], one.group.state
    )


def _tell(found: Unwrapped, group: Group) -> None:
    """Write down what was done and left aside."""
    found.steps += group.steps()
    found.scaling = group.scaling
    if group.part:
        found.steps.append(f"part {group.part!r}")
    own = set(group.original.values())
    found.masked = {key: one for key, one in found.masked.items() if key in own}
    if group.left:
        found.dropped.append(f"not of the network: {name_groups.summary(group.left)}")
        vectors = name_groups.vectors_of(found.state, group.left)
        if vectors:
            found.notes.append(
                f"Left aside: {few(vectors)}. If the forward pass of the original uses them, its "
                "logits are others; then import it by its own class."
            )


def _facts(tree: Any, stated: Stated) -> list[str]:
    """Numbers beside the weights that say what they are."""
    items = dict(tree) if isinstance(tree, Mapping) else {}
    others = {key: plain_number(items.get(key)) for key in ("epoch", "best_ra")}
    named = {one.name: one.value for one in stated}
    return [
        f"{key} {value:.6g}"
        for key, value in {**others, **named}.items()
        if value is not None and -_MOST_FACT < value < _MOST_FACT
    ]
