"""The models that a person marked with a star.

They are kept in the settings, which lie beside the database: a star is a matter of the person
who looks, not of the results, so it is no reason to write to the database that the engine uses.
"""

from __future__ import annotations

import json

from PySide6.QtCore import QSettings

_KEY = "models/favourites"


class Favourites:
    """Model ids, written at once."""

    def __init__(self, settings: QSettings) -> None:
        self._settings = settings

    def ids(self) -> set[str]:
        """All that have a star."""
        try:
            stored = json.loads(str(self._settings.value(_KEY, "[]")))
        except ValueError:
            return set()
        return {str(id_) for id_ in stored} if isinstance(stored, list) else set()

    def toggle(self, model_id: str) -> None:
        """Give a model a star, or take it away."""
        self._settings.setValue(_KEY, json.dumps(sorted(self.ids() ^ {model_id})))
