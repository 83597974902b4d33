"""Distillation: a student, the model itself or a new network, learns from a teacher."""

from __future__ import annotations

from torch import nn

from engine import catalog
from engine.catalog.compressions.distillation import (
    Akd2Params,
    ArdParams,
    Iad1Params,
    Iad2Params,
    KdParams,
    RsladParams,
)
from engine.catalog.compressions.student_fields import BASE, DistillationParams
from engine.compression.context import Context
from engine.compression.macs import count_classes
from engine.compression.methods.student import student_of
from engine.compression.retrain import retrain, training_of
from engine.errors import SpecError
from engine.training.distillation import Akd2, Ard, Iad1, Iad2, Kd, Rslad, warm_up_epochs
from engine.training.objectives import Objective, threat_of
from engine.training.optimisation import Course

Params = KdParams | ArdParams | RsladParams | Iad1Params | Iad2Params | Akd2Params


def distil(model: nn.Module, params: Params, context: Context) -> nn.Module:
    """Train a student; the epoch kept is as in ``retrain``.

    Returns:
        The model itself, trained in place with its masks and quantisers acting; or a new one
        whose weights began fresh.

    Raises:
        SpecError: there are no training images, or a teacher does not fit them.
        TrainingError: it diverged.
        Cancelled: it was stopped.
    """
    student = student_of(model, params.student, context, params.method)
    classes = count_classes(student, training_of(context, params.method).shape)
    objective = objective_for(params, context, classes)
    course = course_for(params)
    recipe = params.model_copy(update={"lr": params.rate})
    first = averaged_from(params)
    retrain(
        student,
        recipe,
        context,
        params.method,
        objective=objective,
        course=course,
        first_candidate=first or 1,
        averaged_from=first,
        on_test_images=params.chooses_on_test_images(),
    )
    return student


def objective_for(params: Params, context: Context, classes: int) -> Objective:
    """What the student minimises, with its teachers on the device that trains.

    Args:
        params: of the step.
        context: images and teachers.
        classes: that the student tells.

    Raises:
        SpecError: there are no training images, or a teacher does not fit them.
    """
    teacher = _teacher(params, "teacher", context, classes)
    match params:
        case KdParams():
            return Kd(teacher, params.alpha, params.temperature)
        case ArdParams():
            weights = params.alpha, params.temperature, params.reduction
            return Ard(threat_of(params), teacher, *weights)
        case RsladParams():
            weight, scale = params.adversarial_weight, params.scale
            return Rslad(threat_of(params), teacher, weight, scale)
        case Iad1Params():
            return Iad1(
                threat_of(params),
                teacher,
                params.alpha,
                params.temperature,
                params.beta,
                warm_up_epochs(params.warm_up, params.epochs),
                weighted=params.teacher_weighting == "as published",
                further_passes=params.passes == "as coded",
            )
        case Iad2Params():
            return Iad2(
                threat_of(params),
                teacher,
                _teacher(params, "teacher_standard", context, classes),
                params.alpha,
                params.alpha_standard,
                params.temperature,
                params.beta,
                warm_up_epochs(params.warm_up, params.epochs),
            )
        case Akd2Params():
            return Akd2(
                threat_of(params),
                teacher,
                _teacher(params, "teacher_standard", context, classes),
                params.alpha,
                params.alpha_standard,
                params.temperature,
            )


def _teacher(params: DistillationParams, field: str, context: Context, classes: int) -> nn.Module:
    """A frozen teacher on the device that trains.

    Raises:
        SpecError: it was made for images of another shape or for other classes.
    """
    name: str = getattr(params, field)
    training = training_of(context, params.method)
    if name != BASE:
        card = catalog.model_card(name)
        if (card.shape, card.classes) != (training.shape, classes):
            raise SpecError(
                f"{params.method}: {field} is {name!r}, which tells {card.classes} classes of "
                f"images {_size(card.shape)}, but the student tells {classes} classes of images "
                f"{_size(training.shape)}.",
                f"Name a model for these images, or {BASE!r}.",
            )
    return context.teacher(name).to(context.device).eval().requires_grad_(False)


def averaged_from(params: Params) -> int | None:
    """The first epoch whose weights count in a mean of weights; None where none is taken."""
    if not (isinstance(params, Akd2Params) and params.swa):
        return None
    return min(warm_up_epochs(params.swa_start, params.epochs) + 1, params.epochs)


def _size(shape: tuple[int, int, int]) -> str:
    return "x".join(str(side) for side in shape)


def course_for(params: Params) -> Course | None:
    """The learning rate of the papers or of their code; None if a schedule is named."""
    match params, params.schedule:
        case RsladParams(), "as published":
            return stairs((215, 260, 285), 300, params.epochs)
        case Akd2Params(), "as published":
            return stairs((50, 150), 200, params.epochs)
        case _, "as published":
            return stairs((100, 150), 200, params.epochs)
        case _, "as coded":
            return stairs((100,), 200, params.epochs)
    return None


def stairs(milestones: tuple[int, ...], of: int, epochs: int) -> Course:
    """A tenth from each milestone on, where the milestones are epochs of a longer run.

    Args:
        milestones: epochs behind.
        of: epochs of the run that the milestones belong to.
        epochs: of this run.
    """
    return lambda behind: 0.1 ** sum(behind * of >= one * epochs for one in milestones)
