"""Subnets of Hydra (Sehwag 2020, arXiv 2002.10509): weights, scores, and the mask they imply."""

from __future__ import annotations

from engine.errors import ModelError
from engine.importing.read import State

SUFFIX = ".popup_scores"

PLAUSIBLE = (1.0, 0.5, 0.1, 0.05, 0.01)
"""Shares that people keep; 1 ignores the mask."""


def split(state: State) -> tuple[State, State]:
    """The tensors of the network, and the scores by the name of their layer.

    Raises:
        ModelError: a score has no weight of its shape.
    """
    scores = {key.removesuffix(SUFFIX): value for key, value in state.items() if _is_score(key)}
    plain = {key: value for key, value in state.items() if not _is_score(key)}
    for layer, score in scores.items():
        weight = plain.get(f"{layer}.weight")
        if weight is None or weight.shape != score.shape:
            raise ModelError(f"The scores of {layer!r} belong to no weight of their shape.")
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
        mask[order[: int((1 - kept) * flat.numel())]] = 0
        result[f"{layer}.weight"] = state[f"{layer}.weight"] * mask.view_as(score)
    return result


def kept_by_zeros(state: State, scores: State) -> float | None:
    """k, if the weights are masked already by what their scores say; else None."""
    total = sum(score.numel() for score in scores.values())
    zeros = sum(int((state[f"{layer}.weight"] == 0).sum()) for layer in scores)
    if not total or zeros < 0.05 * total:
        return None
    kept = round(1 - zeros / total, 2 if zeros < 0.98 * total else 3)
    if not 0 < kept < 1:
        return None
    left = masked(state, scores, kept)
    lost = sum(
        int(((left[f"{layer}.weight"] == 0) & (state[f"{layer}.weight"] != 0)).sum())
        for layer in scores
    )
    return kept if lost <= 0.01 * total else None
