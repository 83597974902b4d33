"""Train the bundled models again: ``python -m engine.training.bundled [--out DIR]``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from engine import data
from engine.catalog import ModelCard
from engine.catalog.training import PgdAtParams, StandardParams
from engine.host import paths
from engine.specs.dataset import DatasetSpec
from engine.training.base import Plan, train_base
from engine.training.trainer import Watch

log = logging.getLogger(__name__)

_ARCHITECTURE = "digits-resnet"

RECIPES = (
    Plan(
        id="digits-resnet",
        title="Digits ResNet",
        architecture=_ARCHITECTURE,
        summary="Small ResNet for the 8x8 digits, trained on clean images.",
        paper="He 2016, arXiv 1512.03385",
        training="standard",
        params=StandardParams.model_validate({"epochs": 60, "batch_size": 64}),
    ),
    Plan(
        id="digits-resnet-at",
        title="Digits ResNet, adversarially trained",
        architecture=_ARCHITECTURE,
        summary="The same network trained on PGD examples, Linf eps 0.15.",
        paper="Madry 2018, arXiv 1706.06083",
        training="pgd-at",
        params=PgdAtParams.model_validate({"epochs": 60, "batch_size": 64, "eps": 0.15}),
    ),
)


def train_bundled(recipe: Plan, folder: Path) -> ModelCard:
    """Train one bundled model and write its weights and card."""
    test = data.load(DatasetSpec.model_validate({"name": "digits"}), seed=0)
    watch = Watch(
        lambda epoch: log.info("%s epoch %d loss %.4f", recipe.id, epoch.number, epoch.loss)
    )
    return train_base(recipe, data.training_images("digits"), test, folder, watch=watch)


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
