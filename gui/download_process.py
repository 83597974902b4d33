"""Downloading a dataset in a process of its own, so that torchvision never enters the window."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QObject, QProcess, Signal

_KILL_MS = 2000


def download_arguments(name: str, root: Path) -> list[str]:
    """The command line, after the executable, that fetches a dataset."""
    # A frozen program is the command line itself and takes no -m.
    module = () if getattr(sys, "frozen", False) else ("-m", "engine")
    return [*module, "data", name, "--root", str(root), "--download", "--json"]


class DownloadProcess(QObject):
    """One download; deletes itself when it is over.

    Signals:
        progress: name of a file, bytes that are there, bytes in all (0 if unknown).
        finished: everything is there.
        refused: why it is not, in words; empty if it was stopped.
    """

    progress = Signal(str, object, object)
    finished = Signal()
    refused = Signal(str)

    def __init__(self, arguments: Sequence[str], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._stopped = False
        self.process = QProcess(self)
        self.process.setProgram(sys.executable)
        self.process.setArguments(list(arguments))
        self.process.readyReadStandardOutput.connect(self._read)
        self.process.finished.connect(self._finished)
        self.process.errorOccurred.connect(self._failed_to_start)
        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self.stop)

    def start(self) -> None:
        """Start downloading; returns at once."""
        self.process.start()

    def stop(self) -> None:
        """End it now, if it still runs; what has come stays, for the next time."""
        if self.process.state() != QProcess.ProcessState.NotRunning:
            self._stopped = True
            self.process.kill()
            self.process.waitForFinished(_KILL_MS)

    def _read(self) -> None:
        while self.process.canReadLine():
            line = bytes(self.process.readLine().data()).decode(errors="replace")
            try:
                told = json.loads(line)
            except ValueError:
                continue  # a library printed something
            if "done" in told:
                self.progress.emit(told["file"], told["done"], told["total"] or 0)

    def _finished(self, code: int, status: QProcess.ExitStatus) -> None:
        if code == 0 and status == QProcess.ExitStatus.NormalExit:
            self._read()
            self.finished.emit()
        else:
            text = bytes(self.process.readAllStandardError().data()).decode(errors="replace")
            lines = [line for line in text.strip().splitlines() if line.strip()]
            reason = lines[-1] if lines else f"The process ended with code {code}."
            self.refused.emit("" if self._stopped else reason.removeprefix("Error: "))
        self.deleteLater()

    def _failed_to_start(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self.refused.emit(f"{self.process.program()} could not be started.")
            self.deleteLater()
