"""Subnets of Hydra (Sehwag 2020, arXiv 2002.10509): weights, scores, and the mask they imply."""

from __future__ import annotations

import math

from engine.errors import ModelError
from engine.importing.read import State
from engine.importing.recognise import NoArchitecture

SUFFIX = ".popup_scores"

PLAUSIBLE = (1.0, 0.5, 0.1, 0.05, 0.01)
"""Shares that people keep; 1 ignores the mask."""

_MOST_LEFT = 0.95
"""Weights with fewer zeros than this leaves are dense."""
_STRAYS = 0.001
"""Share of the weights left that may have lower scores than some that are zero."""


def split(state: State) -> tuple[State, State]:
    """The tensors of the network, and the scores by the name of their layer.

    Raises:
        ModelError: a score has no weight of its shape.
    """
    scores = {key.removesuffix(SUFFIX): value for key, value in state.items() if _is_score(key)}
    plain = {key: value for key, value in state.items() if not _is_score(key)}
    strays = [
        layer
        for layer, score in scores.items()
        if (weight := plain.get(f"{layer}.weight")) is None or weight.shape != score.shape
    ]
    if strays:
        raise NoArchitecture.short_of(
            len(strays) / len(state),
            f"The scores of {strays[0]!r} belong to no weight of their shape.",
            "Save it complete: every layer with its weight and its scores.",
        )
    return plain, scores


def _is_score(key: str) -> bool:
    return key.endswith(SUFFIX)


def masked(state: State, scores: State, kept: float) -> State:
    """The subnet: of each layer the weights with the largest scores, the rest at zero.

    Args:
        state: the tensors of the network.
        scores: by the name of the layer.
        kept: k in (0,1], the share that each layer keeps: numel - int((1 - k) numel).
    """
    result = dict(state)
    for layer, score in scores.items():
        flat = score.abs().flatten()
        order = flat.sort().indices
        mask = flat.new_ones(flat.numel())
        mask[order[: flat.numel() - _left(flat.numel(), kept)]] = 0
        result[f"{layer}.weight"] = state[f"{layer}.weight"] * mask.view_as(score)
    return result


def with_masks(state: State, scores: State, kept: float | None) -> State:
    """The state dict with the masks of its scores, if it has any and they are not in it already.

    Args:
        state: the tensors of the network.
        scores: by the name of the layer.
        kept: k as told; None to find it by the zeros.

    Raises:
        ModelError: k is not known.
    """
    if not scores or (kept is None and kept_by_zeros(state, scores) is not None):
        return state
    if kept is None:
        raise ModelError(
            f"There are scores of {len(scores)} layers, but the share k that their masks keep is "
            "not in the file.",
            "Give --density.",
            field="density",
        )
    return masked(state, scores, kept)


def kept_by_zeros(state: State, scores: State) -> float | None:
    """k, if the weights are masked already by what their scores say; else None.

    They are if in each layer the weights that are not zero are those with the largest scores,
    but for one in a thousand.
    """
    weights = {layer: state[f"{layer}.weight"].flatten() for layer in scores}
    total = sum(one.numel() for one in weights.values())
    nonzero = {layer: int(one.count_nonzero()) for layer, one in weights.items()}
    left = sum(nonzero.values())
    if not left or left > _MOST_LEFT * total:
        return None
    strays = 0
    for layer, weight in weights.items():
        size = scores[layer].abs().flatten()
        if nonzero[layer]:
            lowest = size.topk(nonzero[layer]).values[-1]
            strays += int(((weight != 0) & (size < lowest)).sum())
    if strays > _STRAYS * left:
        return None
    counts = [(weights[layer].numel(), nonzero[layer]) for layer in scores]
    for digits in range(2, 7):  # the shortest k that leaves exactly these
        kept = round(left / total, digits)
        if 0 < kept < 1 and all(_left(size, kept) == count for size, count in counts):
            return kept
    return math.ceil(left / total * 1e4) / 1e4


def _left(size: int, kept: float) -> int:
    """How many of so many weights a mask leaves."""
    return size - int((1 - kept) * size)
