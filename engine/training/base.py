"""Train a base model from fresh weights and keep it as a model of the library."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from engine import models
from engine.catalog import ModelCard
from engine.catalog.training import StandardParams
from engine.data import ImageSet
from engine.training.adversary import accuracy
from engine.training.checkpoint import Checkpoint
from engine.training.examples import hold_out
from engine.training.trainer import Trained, Watch, train

_UNWATCHED = Watch()
_PART = 500
"""Images that are classified together."""


@dataclass(frozen=True)
class Plan:
    """What to train.

    Attributes:
        id: of the model; names its files.
        title: for people.
        architecture: a name in ``engine.models``.
        training: id of the training recipe.
        params: of that recipe.
        seed: of the initial weights, the batches and the attacks.
        summary: one line.
        paper: the source.
    """

    id: str
    title: str
    architecture: str
    training: str
    params: StandardParams
    seed: int = 0
    summary: str = ""
    paper: str = ""


def train_base(
    plan: Plan,
    training_images: ImageSet,
    test: ImageSet,
    folder: Path,
    *,
    device: torch.device | None = None,
    watch: Watch = _UNWATCHED,
    checkpoint: Checkpoint | None = None,
    extra: dict[str, Any] | None = None,
) -> ModelCard:
    """Train a model and write its weights and card.

    The validation images come from the training images; the test images are looked at once,
    at the end, for the clean accuracy on the card.

    Args:
        plan: what to train.
        training_images: what it learns and is validated on.
        test: what its clean accuracy is measured on.
        folder: gets ``<id>.safetensors`` and ``<id>.json``.
        device: where to train; None is the CPU.
        watch: is told of each epoch and may stop.
        checkpoint: where finished epochs are kept.
        extra: further fields of the card.

    Raises:
        Cancelled: the watcher said so; the finished epochs are in the checkpoint.
        TrainingError: it diverged; likewise.
    """
    place = device or torch.device("cpu")
    classes = len(training_images.class_names)
    training, validation = hold_out(training_images)
    fresh = models.build(plan.architecture, training_images.shape, classes, plan.seed)
    trained = train(
        fresh.to(place),
        training,
        validation,
        plan.params,
        plan.seed,
        watch=watch,
        checkpoint=checkpoint,
    )
    model = trained.model.cpu()
    fields = {
        "id": plan.id,
        "title": plan.title,
        "summary": plan.summary,
        "paper": plan.paper,
        "architecture": plan.architecture,
        "dataset": training_images.id,
        "shape": training_images.shape,
        "classes": classes,
        "clean_accuracy": accuracy_in_parts(model, test),
        "test_images": len(test),
        "recipe": _provenance(plan, trained, len(training.labels), len(validation.labels)),
        **(extra or {}),
    }
    return models.save(model, fields, folder)


def accuracy_in_parts(model: torch.nn.Module, images: ImageSet) -> float:
    """Share of images classified correctly, a part at a time."""
    hits = 0.0
    for x, y in zip(
        torch.split(images.images[:], _PART), torch.split(images.labels, _PART), strict=True
    ):
        hits += accuracy(model, x, y) * len(y)
    return round(hits) / len(images)


def _provenance(plan: Plan, trained: Trained, training: int, validation: int) -> dict[str, Any]:
    return {
        "training": plan.training,
        "params": plan.params.model_dump(mode="json"),
        "seed": plan.seed,
        "training_images": training,
        "validation_images": validation,
        "epoch": trained.epoch,
        "validation_clean": trained.validation_clean,
        "validation_score": trained.validation_score,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numpy", "scikit-learn")},
        },
    }
