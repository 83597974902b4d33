"""What every page of the window is given: the results, the engine and the settings."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

from PySide6.QtCore import QSettings

from engine.store import Store
from gui.bridge.engine_client import QtEngineClient
from gui.bridge.results_thread import ResultsThread
from gui.bridge.run_feed import RunFeed


@dataclass(frozen=True)
class PageContext:
    """The state behind the window; lives as long as it.

    Attributes:
        store: the GUI thread's own connection to the results, for what is read at once.
        results: a thread with a connection of its own, for everything else.
        runs: all runs, in the table that the pages share.
        client: the engine.
        settings: what the window remembers beside the results (drafts, columns, layout).
    """

    store: Store
    results: ResultsThread
    runs: RunFeed
    client: QtEngineClient
    settings: QSettings

    def close(self) -> None:
        """End the engine and everything that reads."""
        self.client.close()
        self.results.close()
        self.store.close()


def make_context(
    store: Store, client: QtEngineClient, settings: QSettings, *, executor: Executor | None = None
) -> PageContext:
    """A context over these results.

    Args:
        executor: what reads in place of a thread.
    """
    results = ResultsThread(store.path, executor=executor)
    runs = RunFeed(results)
    client.rows_changed.connect(runs.refresh)
    return PageContext(store, results, runs, client, settings)
