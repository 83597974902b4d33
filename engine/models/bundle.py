"""A model as two files: ``<id>.json`` (the card) and ``<id>.safetensors`` (the weights)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from engine import paths
from engine.catalog import ModelCard
from engine.errors import ModelError
from engine.models.registry import build
from engine.models.tensors import (
    count_parameters,
    fingerprint,
    json_bytes,
    load_tensors,
    tensor_bytes,
    write_atomically,
)


def load(card: ModelCard, folder: Path | None = None) -> nn.Module:
    """Load a base model.

    Args:
        card: which model.
        folder: where its weights lie; the bundled models by default.

    Returns:
        The module on the CPU, in eval mode: images in [0,1] to logits.

    Raises:
        ModelError: the weights are missing, damaged or not those of the card.
    """
    path = (folder or paths.resources() / "models") / f"{card.id}.safetensors"
    module = build(card.architecture, card.shape, card.classes)
    load_tensors(module, path)
    if fingerprint(module) != card.fingerprint:
        raise ModelError(
            f"The weights in {path.name} are not those its card describes.",
            "Card and weights belong together: restore both or train the model again.",
        )
    return module.eval()


def save(module: nn.Module, fields: dict[str, Any], folder: Path) -> ModelCard:
    """Write a model and its card.

    Args:
        module: the trained network.
        fields: those of ``ModelCard``, except parameters and fingerprint, which are measured.
        folder: is made if missing.
    """
    card = ModelCard(**fields, parameters=count_parameters(module), fingerprint=fingerprint(module))
    write_atomically(folder / f"{card.id}.safetensors", tensor_bytes(module))
    write_atomically(folder / f"{card.id}.json", json_bytes(card.model_dump(mode="json")))
    return card
