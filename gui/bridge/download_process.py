"""Downloading a dataset in a process of its own, so that torchvision never enters the window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QObject, QProcess, Signal

from gui.bridge.engine_process import EngineProcess, as_object, engine_arguments


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
        self.process.setReadChannel(QProcess.ProcessChannel.StandardOutput)
        while self.process.canReadLine():
            file = as_object(bytes(self.process.readLine().data()))
            if "done" in file:
                self.progress.emit(file["file"], file["done"], file["total"] or 0)

    def _end(self, code: int | None) -> bool:
        if code != 0:
            return False
        self._read()
        self.finished.emit()
        return True
