"""From a state dict to its layers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from engine.importing.read import State

Kind = Literal["convolution", "linear", "norm"]

NAME = re.compile(r"[A-Za-z_0-9]{1,60}(\.[A-Za-z_0-9]{1,60}){0,9}")
"""Names that may stand in a wiring."""

_MOST = 3000

_COUNTER = "num_batches_tracked"
_STATISTICS = {"running_mean", "running_var"}


@dataclass(frozen=True)
class Layer:
    """A layer with tensors.

    Attributes:
        name: in the file.
        kind: what its tensors can only be.
        size: of the weight; of a norm its channels alone.
        bias: whether it has one; of a norm whether it scales and shifts.
        statistics: of a norm, whether it has those of the training images; one without them
            normalises each image by itself.
    """

    name: str
    kind: Kind
    size: tuple[int, ...]
    bias: bool
    statistics: bool = True

    @property
    def kernel(self) -> int:
        """Rows of a convolution's kernel; 0 of anything else."""
        return self.size[2] if self.kind == "convolution" else 0


def layers_of(state: State) -> list[Layer] | None:
    """The layers of a state dict in its order; None if a tensor belongs to none of these kinds.

    So it is with more layers than any network of these families has.
    """
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, value in state.items():
        name, _, part = key.rpartition(".")
        if len(parts) > _MOST or not NAME.fullmatch(name):
            return None
        parts.setdefault(name, {})[part] = tuple(value.shape)
    found = []
    for name, shapes in parts.items():
        layer = _layer(name, shapes)
        if layer is None:
            return None
        found.append(layer)
    return found


def _layer(name: str, shapes: dict[str, tuple[int, ...]]) -> Layer | None:
    names = set(shapes) - {_COUNTER}
    bias = "bias" in names
    if names - {"weight", "bias"} == _STATISTICS and ("weight" in names) == bias:
        sizes = {shapes[one] for one in names}
        size = next(iter(sizes))
        return Layer(name, "norm", size, bias) if len(sizes) == 1 and len(size) == 1 else None
    size = shapes.get("weight", ())
    if names not in ({"weight"}, {"weight", "bias"}) or shapes.get("bias", size[:1]) != size[:1]:
        return None
    if len(size) == 1 and bias:
        return Layer(name, "norm", size, bias, statistics=False)
    if len(size) == 4 and size[2] == size[3]:
        return Layer(name, "convolution", size, bias)
    return Layer(name, "linear", size, bias) if len(size) == 2 else None


def numbered(name: str) -> list[tuple[int, str]]:
    """A key that sorts names by the numbers in them."""
    parts: Iterable[str] = re.split(r"(\d+)", name)
    return [(int(one), "") if one.isdigit() else (-1, one) for one in parts]
