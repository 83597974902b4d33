"""Train the bundled models again: ``python -m engine.training.bundled [--out DIR]``."""

from __future__ import annotations

import argparse
import logging
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from engine import data, models, paths
from engine.catalog import ModelCard
from engine.catalog.training import PgdAtParams, StandardParams
from engine.specs import DatasetSpec
from engine.training.adversary import accuracy
from engine.training.examples import hold_out
from engine.training.trainer import Trained, Watch, train

log = logging.getLogger(__name__)

_SEED = 0
_ARCHITECTURE = "digits-resnet"


@dataclass(frozen=True)
class Bundled:
    """A model that comes with the program, and how to make it."""

    id: str
    title: str
    summary: str
    paper: str
    training: str
    params: StandardParams


RECIPES = (
    Bundled(
        id="digits-resnet",
        title="Digits ResNet",
        summary="Small ResNet for the 8x8 digits, trained on clean images.",
        paper="He 2016, arXiv 1512.03385",
        training="standard",
        params=StandardParams.model_validate({"epochs": 60, "batch_size": 64}),
    ),
    Bundled(
        id="digits-resnet-at",
        title="Digits ResNet, adversarially trained",
        summary="The same network trained on PGD examples, Linf eps 0.15.",
        paper="Madry 2018, arXiv 1706.06083",
        training="pgd-at",
        params=PgdAtParams.model_validate({"epochs": 60, "batch_size": 64, "eps": 0.15}),
    ),
)


def train_bundled(recipe: Bundled, folder: Path, seed: int = _SEED) -> ModelCard:
    """Train one bundled model and write its weights and card.

    The validation images come from the training digits; the test digits are looked at once,
    at the end, for the clean accuracy on the card.
    """
    digits = data.training_images("digits")
    training, validation = hold_out(digits)
    trained = train(
        models.build(_ARCHITECTURE, digits.shape, len(digits.class_names), seed),
        training,
        validation,
        recipe.params,
        seed,
        watch=Watch(
            lambda epoch: log.info("%s epoch %d loss %.4f", recipe.id, epoch.number, epoch.loss)
        ),
    )
    test = data.load(DatasetSpec.model_validate({"name": "digits"}), seed=0)
    fields = {
        "id": recipe.id,
        "title": recipe.title,
        "summary": recipe.summary,
        "paper": recipe.paper,
        "architecture": _ARCHITECTURE,
        "dataset": "digits",
        "shape": digits.shape,
        "classes": len(digits.class_names),
        "clean_accuracy": accuracy(trained.model, test.images, test.labels),
        "test_images": len(test),
        "recipe": _provenance(recipe, trained, seed, len(training.labels), len(validation.labels)),
    }
    return models.save(trained.model, fields, folder)


def _provenance(
    recipe: Bundled, trained: Trained, seed: int, training: int, validation: int
) -> dict[str, Any]:
    return {
        "training": recipe.training,
        "params": recipe.params.model_dump(mode="json"),
        "seed": seed,
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


def main() -> None:
    """Train all bundled models."""
    parser = argparse.ArgumentParser(description="Train the bundled models again.")
    parser.add_argument("--out", type=Path, default=paths.resources() / "models")
    folder = parser.parse_args().out
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)  # more threads sum in another order: another fingerprint
    for recipe in RECIPES:
        card = train_bundled(recipe, folder)
        log.info("%s: clean accuracy %.4f", card.id, card.clean_accuracy)


if __name__ == "__main__":
    main()
