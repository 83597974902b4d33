"""Networks of linear layers alone, recognised from shapes: names do not matter."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from engine.importing.fit import Fit
from engine.importing.read import State
from engine.models.architectures.layouts import Layout
from engine.models.architectures.mlp import name_of

_ASSUMED = (
    "A state dict does not hold activations: ReLU is taken to stand between the linear layers, and "
    "the images to be flattened row by row."
)


def fit_chain(state: State) -> list[Fit]:
    """The chain that a state dict is, if each of its layers reads what the one before it gives."""
    layers = [key.removesuffix("weight") for key in state if key.endswith("weight")]
    weights = [state[f"{layer}weight"] for layer in layers]
    names = {f"{layer}{part}" for layer in layers for part in ("weight", "bias")}
    if not layers or names != set(state) or any(one.dim() != 2 for one in weights):
        return []
    for order in (layers, sorted(layers, key=_natural)):
        widths = [int(state[f"{layer}weight"].shape[1]) for layer in order]
        rows = [int(state[f"{layer}weight"].shape[0]) for layer in order]
        biases = [tuple(state[f"{layer}bias"].shape) for layer in order]
        if widths[1:] == rows[:-1] and biases == [(one,) for one in rows]:
            return _fit(state, order, widths, rows[-1])
    return []


def _fit(state: State, order: list[str], widths: list[int], classes: int) -> list[Fit]:
    channels = next((one for one in (1, 3) if _is_square(widths[0], one)), None)
    if channels is None:
        return []
    # In torch.nn.Sequential: flatten, linear, ReLU, linear ...
    ours = {layer: f"{2 * place + 1}." for place, layer in enumerate(order)}
    renamed = {f"{ours[key[: _end(key)]]}{key[_end(key) :]}": one for key, one in state.items()}
    layout = Layout(
        "a chain of linear layers",
        write=tuple((rf"^{number[:-1]}\.", layer) for layer, number in ours.items()),
    )
    return [Fit(name_of(widths), layout, classes, channels, renamed, (), (), (), assumed=_ASSUMED)]


def _end(key: str) -> int:
    return len(key) - (6 if key.endswith("weight") else 4)


def _is_square(pixels: int, channels: int) -> bool:
    return pixels % channels == 0 and math.isqrt(pixels // channels) ** 2 == pixels // channels


def _natural(name: str) -> list[tuple[int, str]]:
    parts: Iterable[str] = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
