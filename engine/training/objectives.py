"""What training minimises: the loss of one batch, and the threat model it defends against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional as F

from engine.catalog.training import PgdAtParams, StandardParams, TradesParams
from engine.training.adversary import pgd_examples, trades_examples


@dataclass(frozen=True)
class Threat:
    """An Linf ball of radius ``eps`` that is searched in ``steps`` gradient steps."""

    eps: float
    steps: int


class Objective(Protocol):
    """A loss to minimise."""

    @property
    def threat(self) -> Threat | None:
        """Under which attack epochs are compared; None compares clean accuracies."""

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """The mean loss of a batch, a scalar with a graph to the parameters.

        Args:
            model: images in [0,1] to logits, in training mode.
            images: (N, C, H, W) in [0,1].
            labels: (N,) int64.
            generator: of random starts, on the CPU.
        """


@dataclass(frozen=True)
class Standard:
    """Cross-entropy of clean images."""

    threat: None = None

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        del generator
        return F.cross_entropy(model(images), labels)


@dataclass(frozen=True)
class PgdAt:
    """Cross-entropy of PGD examples (Madry 2018, arXiv 1706.06083, eq. 2)."""

    threat: Threat

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        x = pgd_examples(
            model,
            images,
            labels,
            eps=self.threat.eps,
            steps=self.threat.steps,
            generator=generator,
        )
        return F.cross_entropy(model(x), labels)


@dataclass(frozen=True)
class Trades:
    """Clean cross-entropy plus beta times the divergence nearby (Zhang 2019, eq. 5).

    The clean and the adversarial images are two forwards, so BatchNorm sees each by itself.
    """

    threat: Threat
    beta: float

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        x = trades_examples(
            model, images, eps=self.threat.eps, steps=self.threat.steps, generator=generator
        )
        return trades_loss(model(images), model(x), labels, self.beta)


def trades_loss(
    clean: torch.Tensor, adversarial: torch.Tensor, labels: torch.Tensor, beta: float
) -> torch.Tensor:
    """CE(clean, y) + beta / N sum_i KL(p(clean_i) || p(adversarial_i)); both sides get gradient.

    Args:
        clean: (N, K) logits of the clean images.
        adversarial: (N, K) logits of the adversarial images.
        labels: (N,) int64.
        beta: weight of the divergence.
    """
    # As logarithms: the gradient of a target given as probabilities is NaN where one is 0.
    divergence = F.kl_div(
        F.log_softmax(adversarial, dim=1),
        F.log_softmax(clean, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return F.cross_entropy(clean, labels) + beta * divergence


def objective_of(params: StandardParams) -> Objective:
    """The objective that the parameters of a training recipe describe."""
    match params:
        case TradesParams():
            return Trades(Threat(params.eps, params.attack_steps), params.beta)
        case PgdAtParams():
            return PgdAt(Threat(params.eps, params.attack_steps))
    return Standard()
