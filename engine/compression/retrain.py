"""Training as part of a compression step: held-out images, checkpoints, the best epoch."""

from __future__ import annotations

from torch import nn

from engine.catalog.training import StandardParams
from engine.compression.context import Context
from engine.data import ImageSet
from engine.errors import SpecError
from engine.training import Objective, hold_out, train
from engine.training.optimisation import Course


def training_of(context: Context, step: str) -> ImageSet:
    """The training images of a step that cannot do without.

    Raises:
        SpecError: there are none.
    """
    if context.training is None:
        raise SpecError(
            f"{step}: this dataset has no training images.", f"Leave out the step {step}."
        )
    return context.training


def retrain(
    model: nn.Module,
    params: StandardParams,
    context: Context,
    step: str,
    *,
    stage: str = "",
    objective: Objective | None = None,
    course: Course | None = None,
    first_candidate: int = 1,
) -> None:
    """Train a model in place and leave the best epoch in it, on the CPU in eval mode.

    Masks and quantisers act in every forward pass, so zeros stay zeros and levels stay levels.
    Part of the training images is held out to choose the epoch: the most accurate one, or the
    most robust one if the objective defends against an attack.

    Args:
        model: its parameters that want a gradient are trained.
        params: epochs, batches, optimiser.
        context: images, seed, device, who watches, where epochs are kept.
        step: the name of the method, for errors.
        stage: the name of this training where a method has several.
        objective: what to minimise; None is what the parameters say.
        course: of the learning rate, in place of the schedule that the parameters name.
        first_candidate: the first epoch that may be kept; those before are no finished model.

    Raises:
        SpecError: there are no training images.
        TrainingError: it diverged.
        Cancelled: it was stopped.
    """
    training, validation = hold_out(training_of(context, step))
    model.to(context.device)
    trained = train(
        model,
        training,
        validation,
        params,
        context.seed,
        objective=objective,
        course=course,
        first_candidate=first_candidate,
        watch=context.watch,
        checkpoint=context.checkpoint(stage or step),
        stage=stage,
    )
    model.load_state_dict(trained.model.state_dict())
    model.cpu().eval()
