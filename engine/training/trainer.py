"""One trainer: SGD with Nesterov momentum, one-cycle learning rate, clean or PGD examples."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from engine.catalog.training import PgdAtParams, StandardParams
from engine.errors import Cancelled
from engine.training.adversary import accuracy, pgd_examples

_MAX_SHIFT = 1  # pixels; the digits fill their 8x8 frame, two would cut them off


@dataclass(frozen=True)
class Examples:
    """Images (N, C, H, W) in [0,1] and labels (N,) int64."""

    images: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Trained:
    """What a training run gives.

    Attributes:
        model: the weights of the best epoch, in eval mode.
        epoch: which one that was, from 1.
        validation_clean: accuracy on the validation images.
        validation_score: what was compared: that accuracy, or for ``pgd-at`` the one under PGD.
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
    on_epoch: Callable[[int, float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Trained:
    """Train a model and keep the epoch of its last third that validates best.

    Args:
        model: images in [0,1] to logits; its weights are changed.
        training: what the gradient steps see, with random shifts by one pixel.
        validation: what chooses the epoch; disjoint from ``training`` and from any test image.
        params: of ``standard``, or of ``pgd-at`` (Madry 2018, eq. 2).
        seed: of the batches, the shifts and the PGD starts; the global state is not touched.
        on_epoch: called with the epoch, from 1, and the mean training loss.
        should_stop: asked before each epoch.

    Raises:
        Cancelled: ``should_stop`` said so.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = params.epochs * -(-len(training.labels) // params.batch_size)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=params.lr,
        momentum=params.momentum,
        weight_decay=params.weight_decay,
        nesterov=params.momentum > 0,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, params.lr, total_steps=steps, cycle_momentum=False
    )
    best: Trained | None = None
    for epoch in range(1, params.epochs + 1):
        if should_stop is not None and should_stop():
            raise Cancelled
        loss = _epoch(model, training, params, optimizer, schedule, generator)
        if on_epoch is not None:
            on_epoch(epoch, loss)
        if 3 * epoch > 2 * params.epochs or epoch == params.epochs:
            scored = _score(model, validation, params, seed, epoch)
            if best is None or scored.validation_score >= best.validation_score:
                best = scored
    assert best is not None
    return best


def _epoch(
    model: nn.Module,
    training: Examples,
    params: StandardParams,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    generator: torch.Generator,
) -> float:
    model.train()
    total = 0.0
    order = torch.randperm(len(training.labels), generator=generator)
    for batch in torch.split(order, params.batch_size):
        labels = training.labels[batch]
        images = random_shift(training.images[batch], generator)
        if isinstance(params, PgdAtParams):
            images = _adversarial(model, images, labels, params, generator)
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        total += float(loss.detach()) * len(labels)
    return total / len(training.labels)


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


def _adversarial(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    params: PgdAtParams,
    generator: torch.Generator,
) -> torch.Tensor:
    return pgd_examples(
        model, images, labels, eps=params.eps, steps=params.attack_steps, generator=generator
    )


def _score(
    model: nn.Module, validation: Examples, params: StandardParams, seed: int, epoch: int
) -> Trained:
    images, labels = validation.images, validation.labels
    clean = score = accuracy(model, images, labels)
    if isinstance(params, PgdAtParams):
        generator = torch.Generator().manual_seed(seed)  # the same starts in every epoch
        score = accuracy(model, _adversarial(model, images, labels, params, generator), labels)
    return Trained(copy.deepcopy(model).eval(), epoch, clean, score)
