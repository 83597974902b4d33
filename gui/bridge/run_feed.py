"""The one table of all runs that every page shows, kept up to date in the background."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import QObject, Signal

from engine.store import Store
from engine.store.run_changes import RunChanges, read_changes
from engine.store.run_table import RunTable
from gui.bridge.results_thread import ResultsThread


class RunFeed(QObject):
    """Reads what changed of the runs, and tells the pages.

    Signals:
        changed: the table has other runs, or others values of them.

    Attributes:
        table: the runs, as far as they have been read.
        version: goes up with every change of the table.
    """

    changed = Signal()

    def __init__(self, results: ResultsThread, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.table = RunTable()
        self.version = 0
        self._results = results
        self._reading = self._again = False

    @property
    def complete(self) -> bool:
        """Whether all runs have been read once."""
        return self.table.version is not None

    def refresh(self) -> None:
        """Read what changed since the last time; ``changed`` tells of it, if anything did."""
        if self._reading:
            self._again = True
            return
        self._reading = True
        since = self.table.version

        def read(store: Store) -> Iterable[RunChanges]:
            return read_changes(store.db, since)

        self._results.stream(self, read, self._take, self._done)

    def _take(self, changes: RunChanges) -> None:
        self.table.apply(changes)
        self.version += 1
        self.changed.emit()

    def _done(self) -> None:
        self._reading = False
        if self._again:
            self._again = False
            self.refresh()
