"""Weights of subnets that are masked already: their zeros tell k, and they stay as they are."""

from __future__ import annotations

import pytest
import torch

from engine.importing.scores import kept_by_zeros, masked

State = dict[str, torch.Tensor]


def case(seed: int = 0) -> tuple[State, State]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"a": (16, 3, 3, 3), "b": (40, 40, 3, 3), "c": (10, 40)}
    weights = {f"{name}.weight": torch.randn(size, generator=generator)
               for name, size in sizes.items()}  # fmt: skip
    return weights, {name: torch.rand(size, generator=generator) for name, size in sizes.items()}


@pytest.mark.parametrize("k", [0.9, 0.5, 0.1, 0.05, 0.034, 0.024, 0.014, 0.01, 0.005])
def test_zeros_tell_k_and_nothing_is_lost(k: float) -> None:
    weights, scores = case()
    stored = masked(weights, scores, k)
    found = kept_by_zeros(stored, scores)
    assert found == k
    again = masked(stored, scores, found)
    assert all(torch.equal(again[name], stored[name]) for name in stored)


@pytest.mark.parametrize("k", [0.5, 0.05, 0.01, 0.005])
def test_unrelated_scores_tell_nothing(k: float) -> None:
    weights, scores = case()
    assert kept_by_zeros(masked(weights, case(seed=1)[1], k), scores) is None


def test_one_in_a_thousand_may_stray() -> None:
    weights, scores = case()
    stored = masked(weights, scores, 0.5)
    left = int(sum(one.count_nonzero() for one in stored.values()))
    gone = (stored["b.weight"] == 0).nonzero()
    for few, agrees in ((left // 1000 - 1, True), (left // 100, False)):
        strayed = {name: one.clone() for name, one in stored.items()}
        for at in gone[:: len(gone) // few][:few]:
            strayed["b.weight"][tuple(at)] = 1.0
        found = kept_by_zeros(strayed, scores)
        assert (found is not None) == agrees
        if found is not None:  # not rounded down
            assert found >= sum(one.count_nonzero() for one in strayed.values()) / sum(
                one.numel() for one in strayed.values()
            )


def test_dense_or_empty_weights_tell_nothing() -> None:
    weights, scores = case()
    assert kept_by_zeros(weights, scores) is None
    assert kept_by_zeros({key: one * 0 for key, one in weights.items()}, scores) is None
    assert kept_by_zeros(weights, {}) is None
