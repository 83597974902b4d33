"""The mean of the weights that a training run passes through (SWA)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

from engine.training.checkpoint import Tensors


class WeightAverage:
    """The mean of the weights at the ends of epochs (Izmailov 2018, arXiv 1803.05407).

    Each epoch counts the same. Means and variances of BatchNorm are of no use to other weights:
    they are gathered anew, over one pass of images each time, each image counting the same.

    Args:
        model: whose weights; stays as it is.
        first: the first epoch that counts, from 1.
    """

    def __init__(self, model: nn.Module, first: int) -> None:
        self._average, self._first = AveragedModel(model), first

    @property
    def model(self) -> nn.Module:
        """The model with the mean weights; until an epoch counts, with those it began with."""
        found: nn.Module = self._average.module
        return found

    @property
    def begun(self) -> bool:
        """Whether an epoch has counted."""
        return bool(self._average.n_averaged)

    def take(self, model: nn.Module, number: int, images: Iterable[torch.Tensor]) -> None:
        """An epoch has ended.

        Args:
            model: its weights then.
            number: of the epoch.
            images: batches of training images, changed as in training; looked at only if the
                epoch counts.
        """
        if number >= self._first:
            self._average.update_parameters(model)
            _gather(self.model, images)

    def state(self) -> Tensors:
        """What must be stored to go on from here."""
        return self._average.state_dict()

    def restore(self, state: Tensors) -> None:
        """Take back what ``state`` gave."""
        self._average.load_state_dict(state)


@torch.no_grad()
def _gather(model: nn.Module, images: Iterable[torch.Tensor]) -> None:
    """Take the statistics of BatchNorm anew from one pass.

    As ``torch.optim.swa_utils.update_bn``, to which a last small batch is as good as any other.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta, was_training = [norm.momentum for norm in norms], model.training
    for norm in norms:
        norm.reset_running_stats()
    seen = 0
    model.train()
    try:
        for batch in images if norms else ():
            seen += len(batch)
            for norm in norms:
                norm.momentum = len(batch) / seen
            model(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.train(was_training)
