"""What defensive distillation minimises (Papernot 2016, arXiv 1511.04508, section IV).

Both losses are multiplied by the temperature T: they have the same minimum, and logits get the
gradient of usual training, a difference of probabilities, whatever T is.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from engine.evaluation.model_call import ask
from engine.training.distillation import predict
from engine.training.objectives import Objective


class HotLabels(Objective):
    """T CE(softmax(f(x) / T), y): the network that teaches.

    Args:
        temperature: T.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        del generator
        return self.temperature * F.cross_entropy(ask(model, images) / self.temperature, labels)


class HotSoftLabels(Objective):
    """T CE(softmax(S(x) / T), softmax(f(x) / T)): the network that learns; no label is used.

    Args:
        teacher: f, images in [0,1] to logits.
        temperature: T, of both.
    """

    def __init__(self, teacher: nn.Module, temperature: float) -> None:
        self._teacher, self.temperature = teacher, temperature

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        del labels, generator
        target = F.softmax(predict(self._teacher, images) / self.temperature, dim=1)
        return self.temperature * F.cross_entropy(ask(model, images) / self.temperature, target)
