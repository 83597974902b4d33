"""The model library: where imported models are put, under ids of their own."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from torch import nn

from engine import catalog
from engine.catalog import ModelCard
from engine.catalog.models import EXPORTED, Normalisation, Origin, Source, read_card
from engine.errors import ModelError
from engine.importing.report import Report
from engine.models.bundle import save

_LONGEST = 60


def free_id(name: str, folder: Path, sha256: str, given: bool) -> str:
    """An id for a model: the name in small letters, digits and hyphens.

    Args:
        name: the wish, or the name of the file.
        folder: the library.
        sha256: of the file; a model made from the same file is replaced.
        given: the name is a wish, so it is not altered by a number.

    Raises:
        ModelError: another model has the name already.
    """
    slug = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:_LONGEST] or "model"
    known = {card.id for card in catalog.models.cards().values() if card.origin == "bundled"}
    for number in range(1, 1000):
        id_ = slug if number == 1 else f"{slug}-{number}"
        old = _card(folder, id_)
        same = old is not None and old.source is not None and bool(sha256)
        if id_ not in known and (old is None or (same and old.source.sha256 == sha256)):  # type: ignore[union-attr]
            return id_
        if given:
            break
    raise ModelError(f"There is a model {slug!r} already.", "Choose another name with --name.")


def _card(folder: Path, id_: str) -> ModelCard | None:
    path = folder / f"{id_}.json"
    try:
        return read_card(path) if path.exists() else None
    except ModelError:
        return None


def store(
    module: nn.Module,
    report: Report,
    folder: Path,
    *,
    name: str | None,
    dataset: str,
    origin: Origin,
    program: bytes | None,
) -> ModelCard:
    """Write an examined model into the library.

    The file of a model that is there already replaces it; what the user calls it and wrote
    beside it stays.

    Args:
        module: with its normalisation.
        report: what the doctor says of it.
        folder: the library; is made if missing.
        name: the user's wish.
        dataset: id of the dataset it was measured on.
        origin: imported or downloaded.
        program: the exported program, for a network of the user's own.

    Raises:
        ModelError: the name is taken, or the folder cannot be written.
    """
    title = name or Path(report.file.partition(":")[0]).stem
    id_ = free_id(title, folder, report.sha256, given=name is not None)
    old = _card(folder, id_)
    stamp = datetime.now(UTC).strftime("%Y-%m-%d")
    scaling = report.normalisation
    fields = {
        "id": id_,
        "title": old.title if old and name is None else title,
        "remark": old.remark if old else "",
        "summary": f"{report.architecture}, {origin} from {report.file}: {report.verdict}",
        "architecture": EXPORTED if program is not None else report.architecture,
        "dataset": dataset,
        "shape": report.shape,
        "classes": report.classes,
        "clean_accuracy": report.clean_accuracy,
        "test_images": report.images,
        "recipe": {"density": report.density, "kept": report.kept, "layout": report.layout},
        "interval": report.interval,
        "origin": origin,
        "source": Source(file=report.file, sha256=report.sha256, format=report.format),
        "normalisation": (Normalisation(mean=scaling.mean, std=scaling.std) if scaling else None),
        "history": (
            *(old.history if old else ()),
            f"{stamp} {origin} from {report.file}; measured on {report.images} images of "
            f"{report.dataset}: {report.clean_accuracy:.1%} clean",
        ),
        "notes": (*report.dropped, *report.notes),
        "healthy": report.health == "healthy",
        "compressible": report.compressible,
    }
    try:
        return save(module, fields, folder, program)
    except OSError as error:
        raise ModelError(
            f"The model library {folder} cannot be written: {error.strerror}.",
            "Choose another database, or make room.",
        ) from None
