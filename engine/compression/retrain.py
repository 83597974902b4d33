"""Training as part of a compression step: held-out images, checkpoints, the best epoch."""

from __future__ import annotations

import torch
from torch import nn

from engine.catalog.training import StandardParams
from engine.compression.context import Context
from engine.compression.layers import bounded_weights, settle
from engine.compression.macs import count_classes
from engine.data import ImageSet, further_images
from engine.errors import SpecError
from engine.models.files.tensors import load_state
from engine.training import Examples, Objective, hold_out, objective_of, train, validate
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
    averaged_from: int | None = None,
    start_counts: bool = False,
    second_stream: str = "",
    on_test_images: bool = False,
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
        averaged_from: see ``train``.
        second_stream: path of an archive whose images join every batch; "" joins none.
        on_test_images: choose the epoch on the images that are attacked later; those held out
            are not trained on all the same.
        start_counts: leave the model as it came, if no epoch validates at least as well.

    Raises:
        SpecError: there are no training images, or no test images to choose on.
        DataError: the archive is missing, damaged, or does not fit them.
        TrainingError: it diverged.
        Cancelled: it was stopped.
    """
    training, validation = hold_out(training_of(context, step))
    beside = _joining(second_stream, training_of(context, step))
    if on_test_images:
        validation = test_images_of(context, step)
    _require_heads(model, training_of(context, step), step)
    model.to(context.device)
    aim = objective or objective_of(params)
    start = _Start(model, validation, aim, context.seed) if start_counts else None
    trained = train(
        model,
        training,
        validation,
        params,
        context.seed,
        objective=aim,
        course=course,
        first_candidate=first_candidate,
        averaged_from=averaged_from,
        beside=beside,
        watch=context.watch,
        checkpoint=context.checkpoint(stage or step),
        stage=stage,
        factors={name: part.lr_factor for name, _, part in bounded_weights(model)},
        after_step=settle,
    )
    best = trained.model.state_dict()
    if start is not None and start.score > trained.validation_score:
        best = start.tensors
    load_state(model, best)
    # As files keep it: in another layout in memory a convolution adds in another order.
    model.cpu().to(memory_format=torch.contiguous_format).eval()


def test_images_of(context: Context, step: str) -> Examples:
    """What is attacked later, for a step that chooses an epoch on it.

    Raises:
        SpecError: there are none here.
    """
    if context.test is None:
        raise SpecError(
            f"{step}: there are no test images here to choose an epoch on.",
            "Set selection to 'held-out', or run it in a study.",
        )
    return Examples(context.test.images, context.test.labels)


def _joining(second_stream: str, training: ImageSet) -> Examples | None:
    """What joins the batches; mirrored or not as what it joins."""
    if not second_stream:
        return None
    further = further_images(second_stream, training)
    return Examples(further.images, further.labels, training.mirrors)


def _require_heads(model: nn.Module, images: ImageSet, step: str) -> None:
    """Every label needs a logit.

    Raises:
        SpecError: the images are of more classes than the model tells.
    """
    told, wanted = count_classes(model, images.shape), int(images.labels.max()) + 1
    if wanted > told:
        raise SpecError(
            f"{step}: the model tells {told} classes, but the training images are of {wanted}.",
            "Choose a model for these images, or images of the classes that it tells.",
        )


class _Start:
    """A model before it is trained, and how well it validates."""

    def __init__(
        self, model: nn.Module, validation: Examples, objective: Objective, seed: int
    ) -> None:
        self.tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        clean, robust = validate(model, validation, objective, seed)
        self.score = clean if robust is None else robust
