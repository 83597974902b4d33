"""Downloading a dataset in a process of its own, so that torchvision never enters the window."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from gui.bridge.engine_process import EngineProcess, engine_arguments, last_line


def download_arguments(name: str, root: Path) -> list[str]:
    """The command line, after the executable, that fetches a dataset."""
    return engine_arguments("data", name, "--root", str(root), "--download", "--json")


class DownloadProcess(EngineProcess):
    """One download; what has come when it is stopped stays, for the next time.

    Signals:
        progress: name of a file, bytes that are there, bytes in all (0 if unknown).
        finished: everything is there.
    """

    progress = Signal(str, object, object)
    finished = Signal()

    def __init__(self, arguments: Sequence[str], parent: QObject | None = None) -> None:
        super().__init__(arguments, parent)
        self.process.readyReadStandardOutput.connect(self._read)

    def _read(self) -> None:
        while self.process.canReadLine():
            line = bytes(self.process.readLine().data()).decode(errors="replace")
            try:
                told = json.loads(line)
            except ValueError:
                continue  # a library printed something
            if "done" in told:
                self.progress.emit(told["file"], told["done"], told["total"] or 0)

    def _end(self, code: int | None) -> str | None:
        if code != 0:
            return last_line(self._error(), code).removeprefix("Error: ")
        self._read()
        self.finished.emit()
        return None
