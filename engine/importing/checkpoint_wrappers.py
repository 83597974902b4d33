"""From what was saved to the state dict of a network: wrappers, prefixes, what is not weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.errors import ModelError
from engine.importing.kinds import KINDS
from engine.importing.read import State
from engine.importing.stated import Stated, plain_number, stated_accuracy
from engine.models.files.safe_pickle import StandIn, whole_network

WRAPPERS = ("state_dict", "net", "model", "model_state_dict", "model_state", "swa_state_dict",
            "state_dict_ema", "ema")  # fmt: skip
"""Keys under which training programs keep the weights; the first that is there is taken."""

PREFIXES = ("module.", "basic_model.", "basic_net.", "model.", "_orig_mod.")
"""DataParallel, AttackPGD of Ye 2019 and Goldblum 2020, wrappers for normalisation, compile."""

_SCALING = (("normalize.mean", "normalize.std"), ("mean", "std"), ("mu", "sigma"))
"""Buffers of networks that normalise inside."""


_REAL = ("weight", "bias", "running_mean", "running_var")
"""Ends of names under which only real numbers make sense; indices and counters are integers."""

_MOST_FACT = 1e15
"""Beyond this, a number beside the weights is no epoch and no accuracy."""


@dataclass
class Unwrapped:
    """A state dict and how it was found.

    Attributes:
        state: names without prefixes.
        saved: the same tensors under the names that they were saved by, and what was left out.
        steps: wrappers and prefixes in words.
        dropped: what was left out, and why.
        notes: what else was seen.
        scaling: mean and std per channel, if the checkpoint holds them.
        stated: accuracies that were saved beside the weights.
        loading: Python that leads from the loaded file to the weights, and their prefix.
    """

    state: State
    steps: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scaling: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    stated: Stated = ()
    loading: tuple[str, str] = ("", "")
    saved: State = field(default_factory=dict)


def unwrap(tree: Any, name: str, part: str | None = None) -> Unwrapped:
    """Find the weights in what was saved.

    Args:
        tree: what ``read`` gave.
        name: of the file.
        part: the wrapper to take, where the file holds several.

    Raises:
        ModelError: there are no weights, or it is not clear which are meant.
    """
    weights, steps, notes = _weights(tree, name, part)
    found = Unwrapped(_tensors_only(weights, name), steps, notes=notes)
    found.saved = dict(found.state)
    found.stated = stated_accuracy(tree)
    before = next(iter(found.state))
    if isinstance(tree, Mapping) and "admm" in tree:
        found.dropped.append("admm: the variables U and Z of ADMM training")
        found.notes.append(
            "Saved in the middle of ADMM training: the weights are pulled towards their pruned "
            "values, but are not pruned yet."
        )
    _strip(found)
    _take_scaling(found)
    # Only now: the names of a scaling lie outside of the network and have no prefix.
    found.notes += _strip(found)
    after = next(iter(found.state), before)
    found.loading = _path_to(tree, weights), before.removesuffix(after)
    _drop_unused_stage(found)
    _to_float(found)
    return found


def _path_to(tree: Any, weights: Any) -> str:
    """Python that follows the loaded file to get the weights."""
    for key, value in _items(tree) or enumerate(tree):
        if value is weights:
            return f"[{key!r}]"
        if isinstance(value, list | tuple):
            for place, one in enumerate(value):
                if one is weights:
                    return f"[{key!r}][{place}]"
    return ""


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and any(
        (isinstance(one, torch.Tensor) and one.dim() >= 2)
        or (isinstance(one, StandIn) and "numpy" in one.origin and str(key).endswith("weight"))
        for key, one in value.items()
    )


def _weights(
    tree: Any, name: str, part: str | None
) -> tuple[Mapping[Any, Any], list[str], list[str]]:
    _refuse_objects(tree, name)
    states = _listed(tree)
    if not isinstance(tree, Mapping) and not states:
        kind = type(tree).__name__
        raise ModelError(f"The file {name} holds a {kind} instead of a state dict.", KINDS)
    inside = {
        **{str(key): value for key, value in _items(tree) if _is_state(value)},
        **{str(place): value for place, value in enumerate(states)},
    }
    if part is not None:
        if part not in inside:
            raise ModelError(
                f"The file {name} has no weights under {part!r}.",
                f"It has some under: {', '.join(inside) or 'no name'}.",
                field="part",
            )
        return inside[part], [f"under {part!r}"], []
    if _is_state(tree):
        return tree, ["bare state dict"], []
    known = [key for key in WRAPPERS if key in inside] or list(inside)
    if not known:
        raise ModelError(f"The file {name} holds no weights: no state dict is in it.", KINDS)
    if len(known) > 1 and known[0] not in WRAPPERS:
        several = f"a list of {len(states)}" if len(states) == len(inside) else "several"
        raise ModelError(
            f"The file {name} holds {several} state dicts: {', '.join(known)}.",
            f"Choose one, for example: --part {known[0]}.",
            field="part",
        )
    notes = [
        f"The file also holds weights under {key!r}; to import those: --part {key}."
        for key in known[1:]
    ]
    return inside[known[0]], [f"under {known[0]!r}", *_facts(tree, stated_accuracy(tree))], notes


def _items(tree: Any) -> list[tuple[Any, Any]]:
    return list(tree.items()) if isinstance(tree, Mapping) else []


def _listed(tree: Any) -> list[Any]:
    """The state dicts of a list, bare or under one of the wrappers' names."""
    under = [tree.get(key) for key in WRAPPERS] if isinstance(tree, Mapping) else [tree]
    lists = [one for one in under if isinstance(one, list | tuple) and len(one)]
    return next((list(one) for one in lists if all(map(_is_state, one))), [])


def _refuse_objects(tree: Any, name: str) -> None:
    """Weights that lie in an object of another program cannot be had without running it."""
    for key, value in [("", tree), *_items(tree)]:
        if isinstance(value, StandIn) and (not key or key in WRAPPERS):
            raise whole_network(name, value.origin)


def _facts(tree: Any, stated: Stated) -> list[str]:
    """Numbers beside the weights that say what they are."""
    others = {key: plain_number(dict(_items(tree)).get(key)) for key in ("epoch", "best_ra")}
    named = {one.name: one.value for one in stated}
    return [
        f"{key} {value:.6g}"
        for key, value in {**others, **named}.items()
        if value is not None and -_MOST_FACT < value < _MOST_FACT
    ]


def _tensors_only(weights: Mapping[Any, Any], name: str) -> State:
    state: State = {}
    for key, value in weights.items():
        if not isinstance(key, str):
            raise ModelError(f"The state dict of {name} has the key {key!r}, which is no name.")
        if not isinstance(value, torch.Tensor):
            raise ModelError(
                f"The state dict of {name} holds {key!r}, {_called(value)} instead of a tensor.",
                "Save a state dict of tensors: {key: torch.as_tensor(one) for ...}.",
            )
        trained = key.rpartition(".")[2] in _REAL and not value.is_floating_point()
        if trained or value.is_complex():
            raise ModelError(
                f"The state dict of {name} holds {key!r} as {str(value.dtype)[6:]} instead of "
                "floating-point numbers.",
                "Save the weights in fp32, before they were quantised or packed.",
            )
        state[key] = value.detach()
    return state


def _called(value: Any) -> str:
    origin = value.origin if isinstance(value, StandIn) else type(value).__name__
    if "numpy" in origin or type(value).__module__ == "numpy":
        return "a NumPy array"
    return f"an object {origin}" if isinstance(value, StandIn) else f"a {origin}"


def _strip(found: Unwrapped) -> list[str]:
    """Take a prefix off only if every name has it; notes on those that only some have."""
    state = found.state
    while state:
        for prefix in PREFIXES:
            if all(key.startswith(prefix) for key in state):
                state = {key[len(prefix) :]: value for key, value in state.items()}
                found.steps.append(f"prefix {prefix!r}")
                break
        else:
            break
    found.state = state
    counts = {prefix: sum(key.startswith(prefix) for key in state) for prefix in PREFIXES}
    return [
        f"{count} of {len(state)} names begin with {prefix!r}; a prefix is taken off only if all "
        "have it."
        for prefix, count in counts.items()
        if count
    ]


def _take_scaling(found: Unwrapped) -> None:
    for mean, std in _SCALING:
        if mean in found.state and std in found.state:
            centre, width = (_numbers(found.state.pop(key)) for key in (mean, std))
            channels = _channels(found.state)
            if not len(centre) == len(width) in (1, channels) or not (
                all(-1e9 < value < 1e9 for value in centre) and all(0 < one < 1e9 for one in width)
            ):
                raise ModelError(
                    f"The checkpoint normalises by {mean} = {_short(centre)} and {std} = "
                    f"{_short(width)}, but each must hold 1 or {channels} finite numbers, and "
                    f"{std} numbers above 0."
                )
            found.scaling = centre, width
            found.steps.append(f"normalisation inside ({mean}, {std})")
            return


def _numbers(tensor: torch.Tensor) -> tuple[float, ...]:
    return tuple(tensor.real.flatten().double().tolist())


def _short(numbers: tuple[float, ...]) -> str:
    shown = ", ".join(f"{one:g}" for one in numbers[:4])
    return f"({shown}, ... {len(numbers)} numbers)" if len(numbers) > 4 else f"({shown})"


def _channels(state: State) -> int:
    """Of the images: what the first convolution reads."""
    first = next((value.shape[1] for value in state.values() if value.dim() == 4), 3)
    return int(first) if first in (1, 3) else 3


def _drop_unused_stage(found: Unwrapped) -> None:
    unused = [key for key in found.state if re.match(r"sub_block1\.", key)]
    if unused and any(key.startswith("block1.") for key in found.state):
        for key in unused:
            del found.state[key]
        found.dropped.append(
            f"sub_block1: {len(unused)} tensors of a second first stage that no forward pass uses"
        )


def _to_float(found: Unwrapped) -> None:
    """Everything is computed in fp32."""
    kinds = {
        str(value.dtype).removeprefix("torch.")
        for value in found.state.values()
        if value.is_floating_point() and value.dtype != torch.float32
    }
    if kinds:
        found.notes.append(
            f"Stored in {', '.join(sorted(kinds))}; computed in float32, so logits differ from "
            "those of the original precision."
        )
    found.state = {
        key: value.float() if value.is_floating_point() else value
        for key, value in found.state.items()
    }
