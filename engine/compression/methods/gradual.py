"""Gradual magnitude pruning (Zhu & Gupta 2017, arXiv 1710.01878): raise, train, raise again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from engine.training.objectives import Objective


def sparsity_at(raised: int, raises: int, final: float) -> float:
    """The share of zeros after a number of raises: s_f - s_f (1 - i / n)^3 (eq. 1 with s_i = 0)."""
    return final * (1 - (1 - min(raised, raises) / raises) ** 3)


class Gradual(Objective):
    """An objective that removes a few more weights before each of its first epochs.

    Args:
        objective: what is minimised.
        prune: removes the given share of the weights of a model in place; zeros stay.
        raises: how many epochs begin with a raise.
        final: share of zeros after the last raise.
    """

    def __init__(
        self,
        objective: Objective,
        prune: Callable[[nn.Module, float], None],
        raises: int,
        final: float,
    ) -> None:
        self.threat = objective.threat
        self._objective, self._prune = objective, prune
        self._raises, self._final = raises, final

    def begin_epoch(self, model: nn.Module, number: int) -> None:
        """See ``Objective.begin_epoch``."""
        self._objective.begin_epoch(model, number)
        if number <= self._raises:
            self._prune(model, sparsity_at(number, self._raises, self._final))

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        return self._objective.loss(model, images, labels, generator)

    def state(self) -> dict[str, torch.Tensor]:
        """See ``Objective.state``."""
        return self._objective.state()

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See ``Objective.restore``."""
        self._objective.restore(state)
