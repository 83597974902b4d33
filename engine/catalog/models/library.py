"""What a person does with the model library: rename, note, delete and bring back; torch-free.

Deleting moves the files of a model into a folder of its own beside the library, from where they
come back. Bundled models belong to the program and stay as they are.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from engine.catalog.models.cards import ModelCard, cards, read_card
from engine.errors import ModelError

_WEIGHTS = (".safetensors", ".pt2")
_CARD = ".json"


@dataclass(frozen=True)
class Trashed:
    """A deleted model.

    Attributes:
        card: as it was.
        place: the folder that its files lie in now.
    """

    card: ModelCard
    place: Path


def trash_of(folder: Path) -> Path:
    """Where the deleted models of a library lie."""
    return folder.with_name(f"{folder.name}.trash")


def files_of(card: ModelCard, folder: Path) -> tuple[Path, ...]:
    """The files of a model that are there: the card first, then its weights."""
    named = (folder / f"{card.id}{ending}" for ending in (_CARD, *_WEIGHTS))
    return tuple(path for path in named if path.is_file())


def size_of(card: ModelCard, folder: Path) -> int:
    """Bytes that a model takes on disk."""
    return sum(path.stat().st_size for path in files_of(card, folder))


def edit(card: ModelCard, folder: Path, *, title: str, remark: str) -> ModelCard:
    """Give a model another title and remark; its id, and so all studies, stay.

    Raises:
        ModelError: it is bundled, the title is empty, or the card cannot be written.
    """
    _check_own(card, "renamed")
    if not title.strip():
        raise ModelError(f"The title of the model {card.id!r} is empty.", "Type one.")
    changed = card.model_copy(update={"title": title.strip(), "remark": remark.strip()})
    file = folder / f"{card.id}{_CARD}"
    part = file.with_name(f".{file.name}.part")
    try:
        part.write_text(json.dumps(changed.model_dump(mode="json"), indent=2) + "\n", "utf-8")
        os.replace(part, file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise _unwritable(folder, error) from None
    return changed


def delete(card: ModelCard, folder: Path) -> Trashed:
    """Move the files of a model to the trash.

    The card goes first and comes back last, so that a model is never listed without its weights.

    Raises:
        ModelError: it is bundled, is not there, or cannot be moved.
    """
    _check_own(card, "deleted")
    files = files_of(card, folder)
    if not files:
        raise ModelError(f"The model {card.id!r} is not in {folder}.")
    trash = trash_of(folder)
    try:
        trash.mkdir(parents=True, exist_ok=True)
        place = _free_place(trash, card.id)
        _move(files, place)
    except OSError as error:
        raise _unwritable(trash, error) from None
    return Trashed(card, place)


def restore(deleted: Trashed, folder: Path) -> ModelCard:
    """Bring a deleted model back.

    Raises:
        ModelError: another model has its name now, its files are gone, or cannot be moved.
    """
    card = deleted.card
    if card.id in cards() or files_of(card, folder):
        raise ModelError(
            f"There is a model {card.id!r} already, so the deleted one cannot come back.",
            "Delete that one first.",
        )
    files = files_of(card, deleted.place)
    if not files:
        raise ModelError(f"The files of the deleted model {card.id!r} are gone.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _move(tuple(reversed(files)), folder)
        deleted.place.rmdir()
    except OSError as error:
        raise _unwritable(folder, error) from None
    return card


def trashed(folder: Path) -> tuple[Trashed, ...]:
    """The deleted models of a library, newest last; what cannot be read is left out."""
    found = []
    for place in sorted(trash_of(folder).glob("*"), key=_age):
        for file in place.glob(f"*{_CARD}"):
            try:
                found.append(Trashed(read_card(file), place))
            except ModelError:
                continue
    return tuple(found)


def erase(deleted: Trashed) -> None:
    """Remove a deleted model for good.

    Raises:
        ModelError: its files cannot be removed.
    """
    try:
        shutil.rmtree(deleted.place)
    except OSError as error:
        raise _unwritable(deleted.place, error) from None


def _check_own(card: ModelCard, what: str) -> None:
    if card.origin == "bundled":
        raise ModelError(
            f"The model {card.id!r} comes with Crumple and cannot be {what}.",
            "Only models of the library can.",
        )


def _free_place(trash: Path, id_: str) -> Path:
    for number in range(1, 10_000):
        place = trash / (id_ if number == 1 else f"{id_}~{number}")
        try:
            place.mkdir()
        except FileExistsError:
            continue
        return place
    raise FileExistsError(17, "too many deleted models of this name")


def _move(files: tuple[Path, ...], place: Path) -> None:
    """Move all files, or none: what was moved goes back if a later one cannot be."""
    moved: list[Path] = []
    try:
        for file in files:
            os.replace(file, place / file.name)
            moved.append(file)
    except OSError:
        for file in reversed(moved):
            os.replace(place / file.name, file)
        raise


def _age(place: Path) -> tuple[int, str]:
    try:
        return place.stat().st_ctime_ns, place.name
    except OSError:
        return 0, place.name


def _unwritable(folder: Path, error: OSError) -> ModelError:
    return ModelError(
        f"The folder {folder} cannot be written: {error.strerror}.", "Check its permissions."
    )
