"""What a denoiser in front of a fixed classifier minimises (Liao 2018, arXiv 1712.02976)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from engine.evaluation.model_call import ask
from engine.training.distillation import predict
from engine.training.objectives import InnerSearch, Objective

Guide = Literal["logits", "pixels"]


class Purified(nn.Module):
    """A denoiser that trains before a classifier that does not.

    Only the denoiser is part of it: what is said of parameters, modes and devices is said of the
    denoiser alone.

    Args:
        denoiser: images to images.
        classifier: images in [0,1] to logits; frozen, in eval mode, on the device that trains.
    """

    def __init__(self, denoiser: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser
        self._fixed = (classifier,)  # in a tuple, so that it is no submodule

    @property
    def classifier(self) -> nn.Module:
        """As given."""
        return self._fixed[0]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) in [0,1] to (N, K) logits."""
        return ask(self.classifier, self.denoiser(images))


class Purification(Objective):
    """The mean of |C(D(x')) - C(x)| over logits, or of |D(x') - x| over pixels.

    C is the classifier, D the denoiser, and x' are the images x themselves and PGD examples of
    them against C alone, in a ball whose radius is drawn anew for each batch, uniformly up to
    that of the threat model.

    Args:
        threat: the largest ball and the steps in it.
        guide: what is compared.
    """

    def __init__(self, threat: InnerSearch, guide: Guide) -> None:
        self._search, self.guide = threat, guide

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``; the model is ``Purified``."""
        assert isinstance(model, Purified)
        share = float(torch.rand((), generator=generator))
        threat = replace(self._search, eps=share * self._search.eps)
        adversarial = threat.pgd(model.classifier, images, labels, generator)
        cleaned: torch.Tensor = model.denoiser(torch.cat([images, adversarial]))
        if self.guide == "pixels":
            return (cleaned - torch.cat([images, images])).abs().mean()
        target = predict(model.classifier, images)
        apart: torch.Tensor = ask(model.classifier, cleaned) - torch.cat([target, target])
        return apart.abs().mean()
