"""What training minimises: the loss of one batch, and the threat model it defends against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from engine.catalog.training import AdversarialParams, PgdAtParams, StandardParams, TradesParams
from engine.evaluation.model_call import ask
from engine.training.adversary import (
    Mode,
    Start,
    divergence_examples,
    pgd_examples,
    trades_examples,
)
from engine.training.softening import HARD, Softening


@dataclass(frozen=True)
class InnerSearch:
    """An Linf ball of radius ``eps`` that is searched in ``steps`` gradient steps.

    Attributes:
        step_size: length of a step; None is 2.5 eps / steps.
        mode: of the network while examples are searched.
        start: of a search for high cross-entropy.
    """

    eps: float
    steps: int
    step_size: float | None = None
    mode: Mode = "eval"
    start: Start = "in range"

    def pgd(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Examples of high cross-entropy (``pgd_examples``)."""
        return pgd_examples(
            model,
            images,
            labels,
            eps=self.eps,
            steps=self.steps,
            generator=generator,
            step_size=self.step_size,
            mode=self.mode,
            start=self.start,
        )

    def trades(
        self, model: nn.Module, images: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Examples far from the model's own prediction (``trades_examples``)."""
        return trades_examples(
            model,
            images,
            eps=self.eps,
            steps=self.steps,
            generator=generator,
            step_size=self.step_size,
            mode=self.mode,
        )

    def divergence(
        self,
        model: nn.Module,
        images: torch.Tensor,
        target: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Examples far from a given prediction (``divergence_examples``)."""
        return divergence_examples(
            model,
            images,
            target,
            eps=self.eps,
            steps=self.steps,
            generator=generator,
            step_size=self.step_size,
            mode=self.mode,
        )


def threat_of(params: AdversarialParams) -> InnerSearch:
    """The threat model that training parameters describe."""
    return InnerSearch(
        params.eps,
        params.attack_steps,
        params.attack_step_size,
        params.attack_mode,
        params.attack_start,
    )


class Objective:
    """A loss to minimise. What it keeps between batches survives an interruption (``state``)."""

    threat: InnerSearch | None = None
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
        raise NotImplementedError

    def begin_epoch(self, model: nn.Module, number: int) -> None:
        """An epoch begins, counted from 1; what changes by epoch changes here."""

    def state(self) -> dict[str, torch.Tensor]:
        """What must be stored to go on from here."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what ``state`` gave."""


class Standard(Objective):
    """Cross-entropy of clean images."""

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        del generator
        return F.cross_entropy(ask(model, images), labels)


def pass_over(model: nn.Module, images: torch.Tensor) -> None:
    """Show images to BatchNorm alone, as published code does that logs a clean accuracy."""
    with torch.no_grad():
        ask(model, images)


class PgdAt(Objective):
    """Cross-entropy of PGD examples (Madry 2018, arXiv 1706.06083, eq. 2).

    Args:
        threat: the examples maximise the cross-entropy with the labels in it; of mixed images
            with the label of the first.
        softening: of the labels that the examples are trained on.
        clean_pass: pass over the clean images before the examples, for BatchNorm alone.
    """

    def __init__(
        self, threat: InnerSearch, softening: Softening = HARD, *, clean_pass: bool = False
    ) -> None:
        self.threat: InnerSearch = threat
        self._softening, self._clean_pass = softening, clean_pass

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        batch = self._softening.batch(images, labels, generator)
        x = self.threat.pgd(model, batch.images, batch.labels, generator)
        if self._clean_pass:
            pass_over(model, batch.images)
        return batch.cross_entropy(ask(model, x))


class Trades(Objective):
    """Clean cross-entropy plus beta times the divergence nearby (Zhang 2019, eq. 5).

    The clean and the adversarial images are two forwards, so BatchNorm sees each by itself.

    Args:
        threat: x~ maximises the divergence in it.
        beta: weight of the divergence.
        further_passes: pass over the clean images once more before the search and once more
            at the end, for BatchNorm alone: the code of Hydra (Sehwag 2020) logs, and computes
            the target of the divergence anew.
    """

    def __init__(self, threat: InnerSearch, beta: float, *, further_passes: bool = False) -> None:
        self.threat: InnerSearch = threat
        self.beta, self._further_passes = beta, further_passes

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        if self._further_passes:
            pass_over(model, images)
        x = self.threat.trades(model, images, generator)
        loss = trades_loss(ask(model, images), ask(model, x), labels, self.beta)
        if self._further_passes:
            pass_over(model, images)
        return loss


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
            return Trades(threat_of(params), params.beta)
        case PgdAtParams():
            return PgdAt(threat_of(params))
    return Standard()
