"""A model as two files: ``<id>.json`` (the card) and ``<id>.safetensors`` (the weights).

A model of the user's own making has its exported program, ``<id>.pt2``, in place of weights.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from engine.catalog import ModelCard
from engine.catalog.models.cards import EXPORTED, Normalisation, folder_of, program_fingerprint
from engine.errors import ModelError
from engine.models.attention import open_attention
from engine.models.denormals import zero_denormals
from engine.models.files.tensors import (
    count_parameters,
    file_fingerprint,
    fingerprint,
    json_bytes,
    load_tensors,
    tensor_bytes,
    write_together,
)
from engine.models.masked import mark
from engine.models.normalised import Normalised
from engine.models.programs.program import read_program
from engine.models.registry import build


def load(card: ModelCard, folder: Path | None = None) -> nn.Module:
    """Load a base model.

    Args:
        card: which model.
        folder: where its files lie; by default with the bundled models or in the library.

    Returns:
        The module on the CPU, in eval mode: images in [0,1] to logits. Its attention has
        layers (``engine.models.attention``), its denormal weights are zero, and layers whose
        zeros a mask holds are marked (``engine.models.masked``).

    Raises:
        ModelError: the weights are missing, damaged or not those of the card.
    """
    module = skeleton(card, folder)
    program = None
    if card.architecture == EXPORTED:
        program = _weights(card, folder).read_bytes()
    else:
        load_tensors(module, _weights(card, folder))
    if fingerprint_of(module, program, card.normalisation) != card.fingerprint:
        raise _another(card)
    zero_denormals(module)
    module = open_attention(module.eval())
    mark(module, card)
    return module


def check(card: ModelCard, folder: Path | None = None) -> None:
    """Make sure that a card is that of the files beside it.

    What is stored of a model is found by its fingerprint, so a card with that of another model
    would be given the other's results.

    Raises:
        ModelError: the files are missing, damaged or another model's.
    """
    path = _weights(card, folder)
    try:
        stamp = path.stat()
    except OSError as error:
        raise ModelError(
            f"The weights of {card.id} cannot be read: {error.strerror}.",
            "Restore them, or import or train the model again.",
        ) from None
    scaling = card.normalisation if card.architecture == EXPORTED else None
    if _fingerprint(path, scaling, stamp.st_mtime_ns, stamp.st_size) != card.fingerprint:
        raise _another(card)


def _another(card: ModelCard) -> ModelError:
    return ModelError(
        f"The weights of {card.id} are not those its card describes.",
        "Card and weights belong together: restore both, import or train the model again.",
    )


def _weights(card: ModelCard, folder: Path | None) -> Path:
    kind = ".pt2" if card.architecture == EXPORTED else ".safetensors"
    return (folder or folder_of(card)) / f"{card.id}{kind}"


@lru_cache(maxsize=64)
def _fingerprint(path: Path, normalisation: Normalisation | None, changed: int, size: int) -> str:
    """Of a file as it was at a time; read again when it changes."""
    del changed, size
    if path.suffix == ".pt2":
        return program_fingerprint(path.read_bytes(), normalisation)
    return file_fingerprint(path)


def skeleton(card: ModelCard, folder: Path | None = None) -> nn.Module:
    """A module with the tensors of a model, whatever their values.

    Raises:
        ModelError: the architecture or the exported program is not there.
    """
    if card.architecture == EXPORTED:
        path = _weights(card, folder)
        return normalised(read_program(path, card.shape), card.normalisation)
    module = build(card.network, card.shape, card.classes)
    return normalised(module, card.normalisation)


def normalised(module: nn.Module, normalisation: Normalisation | None) -> nn.Module:
    """A network behind its normalisation; itself if there is none."""
    if normalisation is None:
        return module
    return Normalised(module, normalisation.mean, normalisation.std)


def save(
    module: nn.Module, fields: dict[str, Any], folder: Path, program: bytes | None = None
) -> ModelCard:
    """Write a model and its card.

    Args:
        module: the trained network, with its normalisation.
        fields: those of ``ModelCard``, except parameters and fingerprint, which are measured.
        folder: is made if missing.
        program: the exported program to store in place of the weights.

    Raises:
        OSError: it cannot be written; a model that was there before is there still.
    """
    print_ = fingerprint_of(module, program, fields.get("normalisation"))
    card = ModelCard(**fields, parameters=count_parameters(module), fingerprint=print_)
    kind, content = (".safetensors", tensor_bytes(module)) if program is None else (".pt2", program)
    described = json_bytes(card.model_dump(mode="json"))
    write_together({folder / f"{card.id}{kind}": content, folder / f"{card.id}.json": described})
    return card


def fingerprint_of(
    module: nn.Module, program: bytes | None, normalisation: Normalisation | None
) -> str:
    """Of the tensors; of a program its own, as equal tensors may be wired otherwise."""
    if program is None:
        return fingerprint(module)
    return program_fingerprint(program, normalisation)
