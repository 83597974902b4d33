"""One trainer: SGD on an objective, the best validated epoch kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from engine.catalog.training import StandardParams
from engine.errors import Cancelled, TrainingError
from engine.training.adversary import accuracy, pgd_examples
from engine.training.examples import Examples
from engine.training.objectives import Objective, objective_of
from engine.training.optimisation import schedule, sgd

_MAX_SHIFT = 1  # pixels; the digits fill their 8x8 frame, two would cut them off
_VALIDATION_BATCH = 512


@dataclass(frozen=True)
class Epoch:
    """A finished epoch.

    Attributes:
        number: from 1.
        of: epochs in all.
        loss: mean over the training images.
        clean: accuracy on the validation images; None if this epoch was not validated.
        robust: the same under PGD; None also if the objective knows no attack.
    """

    number: int
    of: int
    loss: float
    clean: float | None = None
    robust: float | None = None


@dataclass(frozen=True)
class Watch:
    """Who is told of a training run, and may end it.

    Attributes:
        on_epoch: called after each epoch.
        should_stop: asked before each batch.
    """

    on_epoch: Callable[[Epoch], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False


_UNWATCHED = Watch()


@dataclass(frozen=True)
class Trained:
    """What a training run gives.

    Attributes:
        model: the weights of the best epoch, in eval mode.
        epoch: which one that was, from 1.
        validation_clean: accuracy on the validation images.
        validation_score: what was compared: that accuracy, or the one under the attack that
            the objective defends against.
    """

    model: nn.Module
    epoch: int
    validation_clean: float
    validation_score: float


def train(
    model: nn.Module,
    training: Examples,
    validation: Examples,
    params: StandardParams,
    seed: int,
    *,
    objective: Objective | None = None,
    first_candidate: int | None = None,
    watch: Watch = _UNWATCHED,
) -> Trained:
    """Train a model and keep the candidate epoch that validates best; of equals the last.

    Args:
        model: images in [0,1] to logits, on any device; its weights are changed. BatchNorm
            gathers its statistics from the very images of the loss, never from the search for
            adversarial examples.
        training: what the gradient steps see, with random shifts by one pixel.
        validation: what chooses the epoch; disjoint from ``training`` and from any test image.
        params: epochs, batches, optimiser and schedule; and the objective, unless one is given.
        seed: of the batches, the shifts and the starts of attacks; the global state is not
            touched.
        objective: what to minimise.
        first_candidate: the first epoch that may be kept; None is the last third.
        watch: is told of each epoch and may stop.

    Raises:
        Cancelled: ``watch.should_stop`` said so.
        TrainingError: the loss or a weight is not finite any more.
    """
    objective = objective or objective_of(params)
    run = _Run(model, training, objective, params, torch.Generator().manual_seed(seed), watch)
    first = first_candidate or min(2 * params.epochs // 3 + 1, params.epochs)
    best: Trained | None = None
    for number in range(1, params.epochs + 1):
        epoch = Epoch(number, params.epochs, run.epoch(number))
        if number >= first:
            clean, robust = _validate(model, validation, objective, seed)
            epoch = Epoch(number, params.epochs, epoch.loss, clean, robust)
            score = clean if robust is None else robust
            if best is None or score >= best.validation_score:
                best = Trained(copy.deepcopy(model).eval(), number, clean, score)
        watch.on_epoch(epoch)
    assert best is not None
    return best


class _Run:
    """The gradient steps of a training run."""

    def __init__(
        self,
        model: nn.Module,
        training: Examples,
        objective: Objective,
        params: StandardParams,
        generator: torch.Generator,
        watch: Watch,
    ) -> None:
        self._model, self._training, self._objective = model, training, objective
        self._batch_size, self._generator, self._watch = params.batch_size, generator, watch
        self._device = next(model.parameters()).device
        self._optimizer = sgd(model, params)
        steps = params.epochs * -(-len(training.labels) // params.batch_size)
        self._schedule = schedule(self._optimizer, params, steps)

    def epoch(self, number: int) -> float:
        """One pass over the images; the mean loss."""
        self._model.train()
        total = 0.0
        order = torch.randperm(len(self._training.labels), generator=self._generator)
        for step, batch in enumerate(torch.split(order, self._batch_size), 1):
            if self._watch.should_stop():
                raise Cancelled
            loss = self._step(batch)
            if not math.isfinite(loss):
                raise _diverged(f"the loss is {loss}", number, step)
            total += loss * len(batch)
        if not all(bool(p.detach().isfinite().all()) for p in self._model.parameters()):
            raise _diverged("a weight is not finite", number, step)
        return total / len(order)

    def _step(self, batch: torch.Tensor) -> float:
        labels = self._training.labels[batch].to(self._device)
        images = random_shift(self._training.images[batch], self._generator).to(self._device)
        loss = self._objective.loss(self._model, images, labels, self._generator)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        return float(loss.detach())


def _diverged(what: str, epoch: int, step: int) -> TrainingError:
    return TrainingError(
        f"Training diverged: {what} at epoch {epoch}, step {step}.", "Lower the learning rate (lr)."
    )


def random_shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Move each image by up to one pixel in each direction; what enters is black."""
    count, _, height, width = images.shape
    padded = F.pad(images, (_MAX_SHIFT,) * 4)
    offsets = torch.randint(2 * _MAX_SHIFT + 1, (2, count, 1), generator=generator)
    rows = (offsets[0] + torch.arange(height))[:, None, :, None]
    columns = (offsets[1] + torch.arange(width))[:, None, None, :]
    image = torch.arange(count)[:, None, None, None]
    channel = torch.arange(images.shape[1])[None, :, None, None]
    return padded[image, channel, rows, columns]


def _validate(
    model: nn.Module, validation: Examples, objective: Objective, seed: int
) -> tuple[float, float | None]:
    """Clean accuracy, and the one under the objective's attack."""
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)  # the same starts in every epoch
    clean = robust = 0.0
    for images, labels in zip(
        torch.split(validation.images, _VALIDATION_BATCH),
        torch.split(validation.labels, _VALIDATION_BATCH),
        strict=True,
    ):
        share = len(labels) / len(validation.labels)
        x, y = images.to(device), labels.to(device)
        clean += share * accuracy(model, x, y)
        if threat := objective.threat:
            x = pgd_examples(model, x, y, eps=threat.eps, steps=threat.steps, generator=generator)
            robust += share * accuracy(model, x, y)
    return clean, robust if objective.threat else None
