"""The models on offer: cards of bundled models and of the user's library, read without torch."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, ValidationError, field_validator

from engine.catalog.entry import Entry, Section, section
from engine.catalog.models.wiring import Wiring
from engine.catalog.strict import Strict
from engine.errors import ModelError
from engine.host import paths

log = logging.getLogger(__name__)

Origin = Literal["bundled", "imported", "trained", "downloaded"]

EXPORTED = "exported"
"""The architecture of a model that is stored as the exported program itself."""

_PROGRAM = "program-2-"
"""Begins their fingerprints; the number is that of the way in which they become modules."""


class _Part(Strict):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class ModelSource(_Part):
    """The file a model was imported from.

    Attributes:
        file: its name, without the folder.
        sha256: of its bytes; empty if the weights were downloaded by a package.
        format: what it was recognised as, in words.
    """

    file: str
    sha256: str = ""
    format: str = ""


class Normalisation(_Part):
    """Mean and standard deviation per channel, applied inside the model to images in [0,1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @field_validator("std")
    @classmethod
    def _positive(cls, std: tuple[float, ...]) -> tuple[float, ...]:
        if not std or not all(0 < value < float("inf") for value in std):
            raise ValueError("must be numbers above 0, one per channel")
        return std


class ModelCard(_Part):
    """What is known of a model beside its weights (``<id>.json``).

    Attributes:
        id: name used in study files; the weights lie beside the card as ``<id>.safetensors``,
            an exported program as ``<id>.pt2``.
        architecture: name of a builder in ``engine.models``, or ``exported``; with a wiring, words.
        wiring: its layers, where no name tells them.
        dataset: id of the dataset it was trained on, or measured on if it was imported.
        shape: (C, H, W) of one input image in [0,1].
        classes: number of classes.
        parameters: number of trained parameters.
        clean_accuracy: share of the test images classified correctly.
        test_images: number of test images.
        interval: 95 % Wilson interval of the clean accuracy, if it was written down.
        fingerprint: SHA-256 over the names, shapes and bytes of all tensors; of an exported
            program ``program_fingerprint``.
        recipe: how it was trained (training id, parameters, seed, versions), as far as known.
        origin: where it comes from.
        source: the file it was imported from.
        normalisation: done inside the model; None if the network takes [0,1] itself.
        history: dated lines, oldest first.
        notes: what the checkpoint doctor found.
        healthy: whether the doctor calls it healthy.
        compressible: whether compression can work on it.
        masked: layers, named within the normalisation, whose zeros a mask of the file held: every
            recipe begins with that mask.
        remark: what its owner wrote.
    """

    id: str
    title: str
    summary: str
    paper: str = ""
    architecture: str
    wiring: Wiring | None = None
    dataset: str
    shape: tuple[int, int, int]
    classes: int
    parameters: int
    clean_accuracy: float
    test_images: int
    fingerprint: str
    recipe: dict[str, Any]
    interval: tuple[float, float] | None = None
    origin: Origin = "bundled"
    source: ModelSource | None = None
    normalisation: Normalisation | None = None
    history: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    healthy: bool = True
    compressible: bool = True
    masked: tuple[str, ...] = ()
    remark: str = ""

    @property
    def network(self) -> str | Wiring:
        """What ``engine.models.build`` makes the network from."""
        return self.wiring or self.architecture

    @property
    def basis(self) -> str:
        """What the keys of its variants are made from: the fingerprint, and the form of layers.

        Other packages have networks with the same tensors that are wired otherwise, and so have
        two wirings. Masks hold zeros that steps would else train. Attention has layers of its own
        now, in which steps find more than before.
        """
        outside = self.architecture.startswith(("torchvision.", "timm.", "robustbench."))
        attention = self.architecture.startswith("torchvision.vit_")
        parts = [self.fingerprint]
        if outside:
            parts.append(self.architecture)
        if self.wiring:
            parts.append(self.wiring.key)
        if self.masked:
            parts.append(f"masked {' '.join(self.masked)}")
        return " ".join([*parts, "attention"] if attention else parts)


def program_fingerprint(program: bytes, normalisation: Normalisation | None) -> str:
    """Of an exported program, what scales its images and how this version turns it into modules."""
    scaling = "" if normalisation is None else f"{normalisation.mean} {normalisation.std}"
    return (
        _PROGRAM + hashlib.sha256(hashlib.sha256(program).digest() + scaling.encode()).hexdigest()
    )


def read_card(path: Path) -> ModelCard:
    """Read one card.

    The fingerprint of a program that another version imported is taken anew: its layers were
    other modules there, so nothing that was made from them fits those of today.

    Raises:
        ModelError: the file is missing, is no JSON or lacks a field.
    """
    try:
        card = ModelCard.model_validate(json.loads(path.read_text("utf-8")))
        if card.architecture == EXPORTED and not card.fingerprint.startswith(_PROGRAM):
            program = path.with_suffix(".pt2").read_bytes()
            renewed = program_fingerprint(program, card.normalisation)
            card = card.model_copy(update={"fingerprint": renewed})
        return card
    except (OSError, ValueError, ValidationError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"The model card {path.name} cannot be read: {reason}.") from error


class _Library:
    """The user's folder of models; its cards are read again when a file there changes."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._seen: object = None
        self._cards: dict[str, ModelCard] = {}
        self._entries: Section = {}

    def cards(self) -> dict[str, ModelCard]:
        """Bundled cards, then those of the library; the same dict until something changes."""
        files = _card_files(self.folder)
        seen = (self.folder, [(file.name, *_stamp(file)) for file in files])
        if seen != self._seen:
            self._cards = {**_bundled(), **_read_all(files)}
            self._entries = _entries(self._cards.values())
            self._seen = seen
        return self._cards

    def entries(self) -> Section:
        """The same as entries of the catalogue."""
        self.cards()
        return self._entries


_library = _Library()


def use_library(folder: Path | None) -> None:
    """Offer the models in a folder beside the bundled ones; None offers these alone.

    The folder need not exist. It is looked at whenever somebody asks for models, so a model
    that is imported later is there at once.
    """
    _library.folder = folder


def library_folder() -> Path | None:
    """The folder of the library in use."""
    return _library.folder


def folder_of(card: ModelCard) -> Path:
    """Where the files of a model lie.

    Raises:
        ModelError: it is of a library, and none is in use.
    """
    if card.origin == "bundled":
        return paths.resources() / "models"
    if _library.folder is None:
        raise ModelError(f"The model {card.id!r} is of a library, but no library is in use.")
    return _library.folder


def _card_files(folder: Path | None) -> list[Path]:
    try:
        return sorted(folder.glob("*.json")) if folder else []
    except OSError:
        return []


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _read_all(files: Iterable[Path]) -> dict[str, ModelCard]:
    """What is broken or bears the name of a bundled model is skipped with a warning."""
    found = {}
    for file in files:
        try:
            card = read_card(file)
        except ModelError as error:
            log.warning("%s It is skipped.", error)
            continue
        if card.id != file.stem or card.id in _bundled() or card.origin == "bundled":
            log.warning("The model card %s bears another model's name. It is skipped.", file.name)
            continue
        found[card.id] = card
    return found


@cache
def _bundled() -> dict[str, ModelCard]:
    found = (read_card(path) for path in sorted((paths.resources() / "models").glob("*.json")))
    return {card.id: card for card in found}


def cards() -> dict[str, ModelCard]:
    """All cards, by id: the bundled ones, then those of the library."""
    return _library.cards()


def titles(among: Iterable[ModelCard] | None = None) -> dict[str, str]:
    """The title of each model by id, with the id where several bear the same one.

    Args:
        among: cards; of one id the last counts. All that are on offer if left out.
    """
    found = {card.id: card.title for card in (cards().values() if among is None else among)}
    count = Counter(found.values())
    return {id_: f"{title} ({id_})" if count[title] > 1 else title for id_, title in found.items()}


def entries() -> Section:
    """All models, by id; the same dict until a card changes, not to be changed."""
    return _library.entries()


def _entries(known: Iterable[ModelCard]) -> Section:
    return section(
        *(
            Entry(
                id=card.id,
                title=card.title,
                family=card.origin,
                summary=card.summary,
                paper=card.paper,
                limits="" if card.compressible else "Can be attacked, but not compressed.",
            )
            for card in known
        )
    )
