"""What every page of the window is given: the results, the engine and the settings."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QSettings

from engine.store import Store
from gui.bridge.engine_client import QtEngineClient


@dataclass(frozen=True)
class PageContext:
    """The state behind the window; lives as long as it.

    Attributes:
        store: the GUI thread's own connection to the results.
        client: the engine.
        settings: what the window remembers beside the results (drafts, columns, layout).
    """

    store: Store
    client: QtEngineClient
    settings: QSettings
