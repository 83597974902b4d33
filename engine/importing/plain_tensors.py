"""What stands in a state dict as floating-point tensors: arrays, quantised and packed weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.errors import ModelError
from engine.importing.read import State
from engine.models.files.safe_pickle import StandIn
from engine.safe_files.arrays import Array

REAL = ("weight", "bias", "running_mean", "running_var")
"""Ends of names under which only real numbers make sense; indices and counters are integers."""

_PACKED = "_packed_params"
"""Under which a quantised linear layer of torch keeps a pair of weight and bias."""
_SCALES = ("scale", "scales")
_ZEROS = ("zero_point", "zero_points", "zp")
_CODES = (torch.int8, torch.uint8)
DEQUANTISED = "Dequantised from"
_UNKNOWN_CODES = (
    "Save the weights as floating-point numbers, code by code: (codes - zero_point) * scale. Or "
    "import the network as it was before it was quantised: Crumple quantises models itself."
)


@dataclass
class Plain:
    """Tensors of a state dict in floating point, and what was done.

    Attributes:
        state: under the names that a network without quantised layers has.
        dropped: what was left out, and why.
        notes: what else was done.
    """

    state: State = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plain_tensors(weights: Mapping[Any, Any], name: str) -> Plain:
    """Read the values of a state dict; ``name`` is that of its file.

    Raises:
        ModelError: a name is no text, or weights stand in a form that numbers cannot be had from.
    """
    plain = Plain()
    quantised: dict[str, torch.Tensor] = {}
    others: list[str] = []
    for key, value in _unpacked(weights, name):
        found = _tensor(value)
        if found is None:
            if key.rpartition(".")[2] in REAL:
                raise ModelError(
                    f"The state dict of {name} holds {key!r}, {_called(value)} instead of a "
                    "tensor.",
                    "Save a state dict of tensors: {key: torch.as_tensor(one) for ...}.",
                )
            others.append(key)
        elif found.is_quantized:
            quantised[key] = found
            plain.state[key] = found.dequantize()
        else:
            plain.state[key] = found
    levels = [_count(one.int_repr()) for one in quantised.values()]
    levels += _decode(plain.state, name)
    _drop_activations(plain, quantised)
    _check_kinds(plain.state, name)
    if levels:
        plain.notes.append(_told(levels, quantised))
    if others:
        plain.dropped.append(f"no tensors: {few(others)}")
    return plain


def few(names: list[str] | tuple[str, ...], most: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(one[:80] for one in names[:most]) + more


def _unpacked(weights: Mapping[Any, Any], name: str) -> Iterator[tuple[str, Any]]:
    """Names and values, with the pairs of quantised linear layers taken apart."""
    for key, value in weights.items():
        if not isinstance(key, str):
            raise ModelError(f"The state dict of {name} has the key {key!r}, which is no name.")
        owner, _, last = key.rpartition(".")
        if last == _PACKED and isinstance(value, tuple) and len(value) == 2:
            layer = owner.removesuffix(_PACKED)
            yield f"{layer}weight", value[0]
            if value[1] is not None:
                yield f"{layer}bias", value[1]
        else:
            yield key, value


def _tensor(value: Any) -> torch.Tensor | None:
    """The tensor that was meant, also of an array of NumPy; None if none was."""
    if isinstance(value, torch.Tensor):
        return value.detach()
    if not isinstance(value, Array):
        return None
    try:
        return torch.from_numpy(value.array())
    except (ValueError, TypeError):  # of no plain numbers, or of a type that torch lacks
        return None


def _called(value: Any) -> str:
    if isinstance(value, Array):
        return "a NumPy array of other things than plain numbers"
    return (
        f"an object {value.origin}" if isinstance(value, StandIn) else f"a {type(value).__name__}"
    )


def _decode(state: State, name: str) -> list[int]:
    """Codes of 8 bits with scales beside them, decoded in place; how many levels each has."""
    levels, used = [], set()
    for key, codes in list(state.items()):
        if codes.dtype not in _CODES or (codes.dim() < 2 and key.rpartition(".")[2] not in REAL):
            continue
        scale = _beside(state, key, _SCALES)
        zero = _beside(state, key, _ZEROS)
        if scale is None or (zero is None and codes.dtype is torch.uint8):
            raise ModelError(
                f"The state dict of {name} holds {key!r} as {str(codes.dtype)[6:]}, but no "
                f"{'scale' if scale is None else 'zero point'} beside it.",
                _UNKNOWN_CODES,
            )
        shift = state[zero].float() if zero else torch.zeros(())
        factors = [_per_row(one, codes, key, name) for one in (shift, state[scale].float())]
        state[key] = (codes.float() - factors[0]) * factors[1]
        levels.append(_count(codes))
        used |= {scale, zero}
    for one in used - {None}:
        state.pop(str(one), None)
    return levels


def _count(codes: torch.Tensor) -> int:
    """How many different ones there are."""
    return len(torch.unique(codes))


def _beside(state: State, key: str, names: tuple[str, ...]) -> str | None:
    """What belongs to a weight by its name: ``a.weight_scale``, ``a.weight.scale``, ``a.scale``."""
    layer = key.rpartition(".")[0]
    tries = [f"{key}{joint}{one}" for one in names for joint in ("_", ".")]
    tries += [f"{layer}.{one}" if layer else one for one in names]
    return next((one for one in tries if one in state), None)


def _per_row(factor: torch.Tensor, codes: torch.Tensor, key: str, name: str) -> torch.Tensor:
    if factor.numel() == 1:
        return factor.reshape(())
    if factor.numel() == codes.shape[0]:
        return factor.reshape(-1, *[1] * (codes.dim() - 1))
    raise ModelError(
        f"The state dict of {name} holds {factor.numel()} scales or zero points of {key!r}, but "
        f"needs one, or one for each of its {codes.shape[0]} rows.",
        _UNKNOWN_CODES,
    )


def _drop_activations(plain: Plain, quantised: Mapping[str, torch.Tensor]) -> None:
    """Scales of what flows between layers: nothing here is rounded to them."""
    if not quantised:
        return
    ends = (*_SCALES, *_ZEROS)
    dropped = [key for key, one in plain.state.items()
               if key.rpartition(".")[2] in ends and one.numel() == 1]  # fmt: skip
    for key in dropped:
        del plain.state[key]
    if dropped:
        plain.dropped.append(f"scales and zero points of activations: {few(dropped)}")
        plain.notes.append(
            "The network it was saved from also rounded activations, which is not done here: "
            "accuracies can differ a little."
        )


def _check_kinds(state: State, name: str) -> None:
    for key, value in state.items():
        trained = key.rpartition(".")[2] in REAL and not value.is_floating_point()
        if trained or value.is_complex():
            raise ModelError(
                f"The state dict of {name} holds {key!r} as {str(value.dtype)[6:]} instead of "
                "floating-point numbers.",
                "Save the weights in fp32, before they were quantised or packed.",
            )
        if key.rpartition(".")[2] == "num_batches_tracked" and value.dim():
            raise ModelError(
                f"The state dict of {name} holds {key!r}, a counter, as "
                f"{'x'.join(map(str, value.shape))} numbers instead of one.",
                "Leave the counters out: BatchNorm needs none to classify.",
            )


def _told(levels: list[int], quantised: Mapping[str, torch.Tensor]) -> str:
    kinds = sorted({str(one.dtype)[6:].replace("q", "") for one in quantised.values()} or {"int8"})
    low, high = min(levels), max(levels)
    span = f"{low}" if low == high else f"{low} to {high}"
    return (
        f"{DEQUANTISED} {', '.join(kinds)}: {len(levels)} tensors with {span} levels each; "
        "from here on they are floating-point weights with these values."
    )
