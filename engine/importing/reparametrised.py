"""Weights that a forward pass computes from other tensors, computed once.

What ``torch.nn.utils`` hangs on a layer leaves other names in a state dict: masks of ``prune``,
direction and length of ``weight_norm``, the vectors of ``spectral_norm``. The products here are
those of torch's own forward in eval mode, so the logits are the same bit by bit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import torch

from engine.errors import ModelError
from engine.importing.plain_tensors import few
from engine.importing.read import State

_PARAMETRIZED = re.compile(r"(.*\.|)parametrizations\.(\w+)\.(original\d?|\d+\..+)")
_COUNTERS = ("total_ops", "total_params")
"""Of thop, which counts multiplications."""


@dataclass
class Computed:
    """Plain weights, and what was done.

    Attributes:
        state: with the names that a network without such extras has.
        masked: weights that a mask holds at zero in places, of ``state``.
        also_zero: how many numbers that their masks keep are zero, too.
        dropped: what was left out, and why.
        notes: what else was done.
    """

    state: State
    masked: State = field(default_factory=dict)
    also_zero: int = 0
    dropped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def computed_weights(state: State, name: str) -> Computed:
    """Compute what is stored in parts; ``name`` is that of the file.

    Raises:
        ModelError: a weight comes from a function that names and shapes do not tell.
    """
    found = Computed(dict(state))
    kinds: dict[str, list[str]] = {}
    _take_parametrized(found, kinds, name)
    for key in list(state):
        if key in found.state:
            if key.endswith("_orig"):
                _take_original(found, kinds, key.removesuffix("_orig"), name)
            elif key.endswith("_g") and f"{key[:-1]}v" in found.state:
                _take_normed(found, kinds, key.removesuffix("_g"))
            elif key.rpartition(".")[2] in ("mask", "weight_mask"):
                _take_mask(found, kinds, key)
    _drop_counters(found)
    found.notes += [_SAID[kind].format(few(names)) for kind, names in kinds.items()]
    if found.also_zero:
        found.notes.append(
            f"Of the weights that its masks keep, {found.also_zero:,} are zero, too; they are held "
            "at zero like those that the masks remove."
        )
    return found


_SAID = {
    "mask": "Pruned: masks are multiplied into {}.",
    "weight norm": "Weight normalisation is computed into plain weights, with equal logits: {}.",
    "spectral norm": "Spectral normalisation is computed into plain weights, with equal logits: "
    "{}.",
}


def _take_original(found: Computed, kinds: dict[str, list[str]], key: str, name: str) -> None:
    """``weight_orig`` with a mask (prune), or with vectors (the old spectral_norm)."""
    state = found.state
    weight = state[f"{key}_orig"]
    mask, u, v = (state.get(f"{key}_{end}") for end in ("mask", "u", "v"))
    if mask is not None and mask.shape == weight.shape:
        _mask(found, key, mask.to(weight.dtype) * weight, mask)
        _done(found, kinds, "mask", key, [f"{key}_orig", f"{key}_mask"])
    elif u is not None and v is not None and _spans(weight, u, v):
        state[key] = _divided(weight, u, v)
        _done(found, kinds, "spectral norm", key, [f"{key}_{end}" for end in ("orig", "u", "v")])
    elif u is not None:
        raise _unknown(name, f"{key}_orig", "a spectral normalisation of torch before 1.1")


def _take_normed(found: Computed, kinds: dict[str, list[str]], key: str) -> None:
    """``weight_g`` and ``weight_v``: the length and the direction of the old weight_norm."""
    length, direction = (found.state[f"{key}_{end}"] for end in "gv")
    dim = _lengths_over(length, direction)
    if dim is not None:
        found.state[key] = torch._weight_norm(direction, length, dim)
        _done(found, kinds, "weight norm", key, [f"{key}_g", f"{key}_v"])


def _lengths_over(length: torch.Tensor, direction: torch.Tensor) -> int | None:
    """The dimension whose elements have a length each, -1 for one length; None if none fits."""
    if length.dim() == 0:
        return -1
    if length.dim() != direction.dim() or direction.dim() < 2:
        return None
    long = [place for place, side in enumerate(length.shape) if side != 1] or [0]
    fits = len(long) == 1 and length.shape[long[0]] == direction.shape[long[0]]
    return long[0] if fits else None


def _take_mask(found: Computed, kinds: dict[str, list[str]], key: str) -> None:
    """A mask beside a whole weight, as layers of other programs keep one."""
    weight = f"{key.rpartition('.')[0]}.weight" if "." in key else "weight"
    mask, value = found.state[key], found.state.get(weight)
    if value is not None and mask.shape == value.shape and bool(((mask == 0) | (mask == 1)).all()):
        _mask(found, weight, mask.to(value.dtype) * value, mask)
        _done(found, kinds, "mask", weight, [key])


def _take_parametrized(found: Computed, kinds: dict[str, list[str]], name: str) -> None:
    """What ``torch.nn.utils.parametrize`` keeps under ``parametrizations.weight``."""
    groups: dict[str, dict[str, str]] = {}
    for key in found.state:
        if match := _PARAMETRIZED.fullmatch(key):
            groups.setdefault(match[1] + match[2], {})[match[3]] = key
    for key, parts in groups.items():
        tensors = {end: found.state[one] for end, one in parts.items()}
        kind, weight = _parametrized(tensors)
        if weight is None:
            raise _unknown(name, next(iter(parts.values())), "a function that the file lacks")
        found.state[key] = weight
        if kind == "mask":
            _mask(found, key, weight, tensors["0.mask"])
        _done(found, kinds, kind, key, list(parts.values()))


def _mask(found: Computed, key: str, weight: torch.Tensor, mask: torch.Tensor) -> None:
    """Keep a weight with its mask in it."""
    found.state[key] = found.masked[key] = weight
    found.also_zero += int(((weight == 0) & (mask != 0)).sum())


def _parametrized(parts: State) -> tuple[str, torch.Tensor | None]:
    """The kind and the weight."""
    ends = set(parts)
    if ends == {"original0", "original1"}:
        length, direction = parts["original0"], parts["original1"]
        dim = _lengths_over(length, direction)
        weight = None if dim is None else torch._weight_norm(direction, length, dim)
        return "weight norm", weight
    if ends == {"original", "0.mask"} and parts["0.mask"].shape == parts["original"].shape:
        whole = parts["original"]
        return "mask", torch.where(parts["0.mask"] != 0, whole, torch.zeros_like(whole))
    if ends == {"original", "0._u", "0._v"}:
        vectors = parts["0._u"], parts["0._v"]
        if _spans(parts["original"], *vectors):
            return "spectral norm", _divided(parts["original"], *vectors)
    return "", None


def _spans(weight: torch.Tensor, u: torch.Tensor, v: torch.Tensor) -> bool:
    return weight.dim() >= 2 and weight.numel() == u.numel() * v.numel()


def _divided(weight: torch.Tensor, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """A weight by its largest singular value, for which u and v are the singular vectors."""
    dim = 0 if weight.shape[0] == u.numel() else 1  # of transposed convolutions
    return weight / torch.dot(u, torch.mv(weight.transpose(0, dim).flatten(1), v))


def _done(
    found: Computed, kinds: dict[str, list[str]], kind: str, key: str, used: list[str]
) -> None:
    for one in used:
        if one != key:
            found.state.pop(one, None)
    kinds.setdefault(kind, []).append(key)


def _drop_counters(found: Computed) -> None:
    counters = [key for key in found.state if key.rpartition(".")[2] in _COUNTERS]
    for key in counters:
        del found.state[key]
    if counters:
        found.dropped.append(f"counters of thop: {few(counters)}")


def _unknown(name: str, key: str, what: str) -> ModelError:
    return ModelError(
        f"The weight behind {key!r} of {name} is computed in each forward by {what}.",
        "Make it a plain weight before saving: torch.nn.utils.parametrize."
        "remove_parametrizations(layer, 'weight'), or remove_spectral_norm(layer).",
    )
