"""A twin of a random model whose logits hold still enough to be followed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.evaluation.model_call import ask

FORWARDS = 8
"""Forwards averaged: the noise of the mean is about a third of that of one forward."""


class Averaged(nn.Module):
    """Mean logits of a model over forwards with fresh randomness.

    The gradient of the mean is the expectation over transformation (Athalye 2018,
    arXiv 1707.07397), estimated from ``FORWARDS`` draws; each costs a forward and a backward.

    Args:
        inner: from (N, C, H, W) images to (N, K) logits, drawing from the global generators.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images to (N, K) logits."""
        return torch.stack([ask(self.inner, images) for _ in range(FORWARDS)]).mean(dim=0)
