"""Fine-tuning (Han 2015, arXiv 1506.02626): train what the steps before left."""

from __future__ import annotations

from torch import nn

from engine.catalog.compressions import FinetuneParams
from engine.compression.context import Context
from engine.errors import SpecError
from engine.training import hold_out, train


def finetune(model: nn.Module, params: FinetuneParams, context: Context) -> None:
    """Train a model in place; masks and quantisers act in every forward pass, so zeros stay
    zeros and levels stay levels. BatchNorm statistics follow the compressed network.

    Part of the training images is held out to choose the epoch: the most accurate one, of
    ``pgd-at`` and ``trades`` the most robust one.

    Raises:
        SpecError: there are no training images.
        TrainingError: it diverged.
        Cancelled: it was stopped.
    """
    if context.training is None:
        raise SpecError(
            "finetune: this dataset has no training images.", "Leave out the step finetune."
        )
    model.to(context.device)
    training, validation = hold_out(context.training)
    trained = train(
        model,
        training,
        validation,
        params.recipe(),
        context.seed,
        first_candidate=1,
        watch=context.watch,
    )
    model.load_state_dict(trained.model.state_dict())
    model.cpu().eval()
