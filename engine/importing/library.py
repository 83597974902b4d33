"""The model library: where imported models are put, under ids of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from torch import nn

from engine import catalog
from engine.catalog import ModelCard
from engine.catalog.models.cards import EXPORTED, ModelSource, Normalisation, Origin, read_card
from engine.catalog.models.wiring import Wiring
from engine.errors import ModelError
from engine.importing.report import Report
from engine.models.files.bundle import fingerprint_of, save

_LONGEST = 60
_KINDS = (".json", ".safetensors", ".pt2")


def _none_is(card: ModelCard) -> bool:
    return False


def free_id(
    name: str, folder: Path, given: bool, same: Callable[[ModelCard], bool] = _none_is
) -> str:
    """An id for a model: the name in small letters, digits and hyphens.

    Args:
        name: the wish, or the name of the file.
        folder: the library.
        given: the name is a wish, so it is not altered by a number.
        same: whether a card is that of the very model, which is replaced then.

    Raises:
        ModelError: another model has the name already.
    """
    slug = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:_LONGEST] or "model"
    known = {card.id for card in catalog.models.cards.cards().values() if card.origin == "bundled"}
    for number in range(1, 1000):
        id_ = slug if number == 1 else f"{slug}-{number}"
        old = _card(folder, id_)
        # A card that cannot be read still stands for a model, as weights without a card do.
        free = not any((folder / f"{id_}{kind}").exists() for kind in _KINDS)
        if id_ not in known and (free or (old is not None and same(old))):
            return id_
        if given:
            break
    raise ModelError(
        f"There is a model {slug!r} already.", "Choose another name with --name.", field="name"
    )


def _card(folder: Path, id_: str) -> ModelCard | None:
    path = folder / f"{id_}.json"
    try:
        return read_card(path) if path.exists() else None
    except ModelError:
        return None


Identity = tuple[str | None, str, Wiring | None, str]


def _identity(card: ModelCard) -> Identity:
    sha256 = card.source.sha256 if card.source else None
    return sha256, card.architecture, card.wiring, card.fingerprint


def store(
    module: nn.Module,
    report: Report,
    folder: Path,
    *,
    name: str | None,
    dataset: str,
    origin: Origin,
    program: bytes | None,
    wiring: Wiring | None = None,
) -> ModelCard:
    """Write an examined model into the library.

    The same network from the same source replaces the one that is there; what the user calls it
    and wrote beside it stays. Another part of the file, another mask or normalisation is another
    network.

    Args:
        module: with its normalisation.
        report: what the doctor says of it.
        folder: the library; is made if missing.
        name: the user's wish.
        dataset: id of the dataset it was measured on.
        origin: imported or downloaded.
        program: the exported program, for a network of the user's own.
        wiring: of a network whose layers no name tells.

    Raises:
        ModelError: the name is taken, or the folder cannot be written.
    """
    file = report.file if origin == "downloaded" else Path(report.file.partition(":")[0]).stem
    title = name or file
    architecture = EXPORTED if program is not None else report.architecture
    scaling = report.normalisation
    normalisation = Normalisation(mean=scaling.mean, std=scaling.std) if scaling else None
    print_ = fingerprint_of(module, program, normalisation)
    identity: Identity = (report.sha256, architecture, wiring, print_)
    id_ = free_id(title, folder, name is not None, lambda old: _identity(old) == identity)
    old = _card(folder, id_)
    stamp = datetime.now(UTC).strftime("%Y-%m-%d")
    fields = {
        "id": id_,
        "title": old.title if old and name is None else title,
        "remark": old.remark if old else "",
        "summary": f"{report.architecture}, {origin} from {report.file}: {report.verdict}",
        "architecture": architecture,
        "wiring": wiring,
        "dataset": dataset,
        "shape": report.shape,
        "classes": report.classes,
        "clean_accuracy": report.clean_accuracy,
        "test_images": report.images,
        "recipe": {"density": report.density, "kept": report.kept, "layout": report.layout},
        "interval": report.interval,
        "origin": origin,
        "source": ModelSource(file=report.file, sha256=report.sha256, format=report.format),
        "normalisation": normalisation,
        "history": (
            *(old.history if old else ()),
            f"{stamp} {origin} from {report.file}; measured on {report.images} images of "
            f"{report.dataset}: {report.clean_accuracy:.1%} clean",
        ),
        "notes": (*report.dropped, *report.notes),
        "healthy": report.health == "healthy",
        "compressible": report.compressible,
        "masked": tuple(layer.name for layer in report.layers if layer.masked),
    }
    try:
        return save(module, fields, folder, program)
    except OSError as error:
        raise ModelError(
            f"The model library {folder} cannot be written: {error.strerror}.",
            "Choose another database, or make room.",
        ) from None
