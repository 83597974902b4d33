"""What models are called in results: by the title of their card; the id stands in tool tips."""

from __future__ import annotations

from pathlib import Path

from engine.catalog.models import cards, library

_known: dict[Path | None, dict[str, str]] = {}


def titles() -> dict[str, str]:
    """The title of each model by id, also of deleted ones."""
    folder = cards.library_folder()
    if folder not in _known:
        deleted = [model.card for model in library.trashed(folder)] if folder is not None else []
        _known.clear()
        _known[folder] = cards.titles([*deleted, *cards.cards().values()])
    return _known[folder]


def forget() -> None:
    """A model was added, renamed, deleted or brought back."""
    _known.clear()


def model_title(model_id: str) -> str:
    """What a model is called; its id where it has no card."""
    return titles().get(model_id, model_id)
