"""The models on offer: the cards of bundled models, read without torch."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from engine import paths
from engine.catalog.entry import Entry, Section, section
from engine.errors import ModelError


class ModelCard(BaseModel):
    """What is known of a model beside its weights (``resources/models/<id>.json``).

    Attributes:
        id: name used in study files; the weights lie beside the card as ``<id>.safetensors``.
        architecture: name of a builder in ``engine.models``.
        dataset: id of the dataset it was trained on.
        shape: (C, H, W) of one input image in [0,1].
        classes: number of classes.
        parameters: number of trained parameters.
        clean_accuracy: share of the whole test set classified correctly.
        test_images: size of that test set.
        fingerprint: SHA-256 over the names, shapes and bytes of all tensors.
        recipe: how it was trained (training id, parameters, seed, versions).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: str
    summary: str
    paper: str = ""
    architecture: str
    dataset: str
    shape: tuple[int, int, int]
    classes: int
    parameters: int
    clean_accuracy: float
    test_images: int
    fingerprint: str
    recipe: dict[str, Any]


def read_card(path: Path) -> ModelCard:
    """Read one card.

    Raises:
        ModelError: the file is missing, is no JSON or lacks a field.
    """
    try:
        return ModelCard.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"The model card {path.name} cannot be read: {reason}.") from error


@cache
def cards() -> dict[str, ModelCard]:
    """All bundled cards, by id."""
    found = (read_card(path) for path in sorted((paths.resources() / "models").glob("*.json")))
    return {card.id: card for card in found}


def entries() -> Section:
    """All models, by id."""
    return section(
        *(
            Entry(
                id=card.id,
                title=card.title,
                family="bundled",
                summary=card.summary,
                paper=card.paper,
            )
            for card in cards().values()
        )
    )
