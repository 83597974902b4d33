"""How far a step reached: which layers have what was asked for, and which were left alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from engine.compression.layers import bare_matrices, on_weight, weight_layers
from engine.compression.parts.base import WeightQuantiser
from engine.specs.choices import Step

_MOST = 0.9
"""Share of the weights from which on a step did what was asked."""
_NAMED = 4
_FAMILIES = frozenset({"pruning", "quantisation"})


@dataclass(frozen=True)
class _Layer:
    parts: int
    shape: tuple[int, ...]
    bits: int | None


@dataclass(frozen=True)
class Layers:
    """The weights of a network before or after a step.

    Attributes:
        layers: by name, in order.
        bare: weights in no layer.
    """

    layers: dict[str, _Layer]
    bare: int

    @classmethod
    def of(cls, live: nn.Module) -> Layers:
        """What hangs on each layer of a network now."""
        found = {}
        for name, layer in weight_layers(live):
            parts = on_weight(layer)
            last = parts[-1] if parts else None
            bits = last.bits if isinstance(last, WeightQuantiser) else None
            found[name] = _Layer(len(parts), tuple(layer.weight.shape), bits)
        return cls(found, sum(one.numel() for one in bare_matrices(live)))


def shortfall(step: Step, before: Layers, after: Layers) -> str:
    """What a step was asked for and did not do, as a sentence; empty if it did.

    Layers that the step was told to leave do not count; what lies in no layer does. Below nine
    tenths of the weights it is said.
    """
    if step.family not in _FAMILIES:
        return ""
    left_out = step.settings.left_out(list(after.layers))
    wanted = [name for name in after.layers if name not in left_out]
    reached = [name for name in wanted if _reached(step, name, before, after)]
    asked = _weights(after, wanted) + after.bare
    done = _weights(after, reached)
    if asked and done >= _MOST * asked:
        return ""
    share = done / (_weights(after, list(after.layers)) + after.bare) if done else 0.0
    much = f"{share:.1%} of the weights" if done else "no layer"
    left = [_told(name, after) for name in after.layers if name not in reached]
    more = [f"{len(left) - _NAMED} more layers"] if len(left) > _NAMED else []
    bare = [f"{after.bare:,} weights in no layer"] if after.bare else []
    named = ", ".join([*left[:_NAMED], *more, *bare])
    return f"{step.label} reached {much} of this network; left out: {named}."


def _told(name: str, after: Layers) -> str:
    bits = after.layers[name].bits
    return name if bits is None else f"{name} ({bits} bits)"


def _weights(found: Layers, names: list[str]) -> int:
    total = 0
    for name in names:
        count = 1
        for size in found.layers[name].shape:
            count *= size
        total += count
    return total


def _reached(step: Step, name: str, before: Layers, after: Layers) -> bool:
    old, new = before.layers.get(name), after.layers[name]
    if step.settings.cuts:
        return old is None or old.shape != new.shape
    if "bits" in step.params:
        return new.bits == step.params["bits"] and (old is None or new.parts > old.parts)
    return old is None or new.parts > old.parts
