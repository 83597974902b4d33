"""Drawing charts for print in a process of its own: matplotlib never enters the window."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QObject, QProcess, Signal

_KILL_MS = 2000


def chart_arguments(database: Path, kind: str, run_ids: Sequence[int], out: Path) -> list[str]:
    """The command line, after the executable, that draws these runs."""
    # A frozen program is the command line itself and takes no -m.
    module = () if getattr(sys, "frozen", False) else ("-m", "engine")
    runs = [part for run_id in run_ids for part in ("--run", str(run_id))]
    return [
        *(*module, "chart", "--kind", kind, "--db", str(database)),
        *runs,
        *("--out", str(out)),
    ]


class ChartProcess(QObject):
    """One export; deletes itself when it is over.

    Signals:
        written: the file that was written.
        refused: why it was not, in words.
    """

    written = Signal(object)
    refused = Signal(str)

    def __init__(self, arguments: Sequence[str], out: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._out = out
        self.process = QProcess(self)
        self.process.setProgram(sys.executable)
        self.process.setArguments(list(arguments))
        self.process.finished.connect(self._finished)
        self.process.errorOccurred.connect(self._failed_to_start)
        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self.stop)

    def start(self) -> None:
        """Start drawing; returns at once."""
        self.process.start()

    def stop(self) -> None:
        """End it now, if it still runs."""
        if self.process.state() != QProcess.ProcessState.NotRunning:
            self.process.blockSignals(True)
            self.process.kill()
            self.process.waitForFinished(_KILL_MS)

    def _finished(self, code: int, status: QProcess.ExitStatus) -> None:
        if code == 0 and status == QProcess.ExitStatus.NormalExit and self._out.is_file():
            self.written.emit(self._out)
        else:
            text = bytes(self.process.readAllStandardError().data()).decode(errors="replace")
            lines = [line for line in text.strip().splitlines() if line.strip()]
            self.refused.emit(lines[-1] if lines else f"The process ended with code {code}.")
        self.deleteLater()

    def _failed_to_start(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self.refused.emit(f"{self.process.program()} could not be started.")
            self.deleteLater()
