"""A command of the engine in a process of its own, so that its libraries never enter the window."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from PySide6.QtCore import QCoreApplication, QObject, QProcess, Signal

_KILL_MS = 2000


def engine_arguments(*command: str) -> list[str]:
    """The command line, after the executable, of a command of the engine.

    The current folder is not looked into (-P): an engine.py or json.py there is none of ours.
    """
    # A frozen program is the command line itself and takes no -m.
    module = () if getattr(sys, "frozen", False) else ("-P", "-m", "engine")
    return [*module, *command]


class EngineProcess(QObject):
    """One command; deletes itself when it is over.

    A subclass listens to ``process`` on the way, and says what came of it (``_end``).

    Signals:
        refused: why it came to nothing, in words; empty if it was stopped.
    """

    refused = Signal(str)

    def __init__(self, arguments: Sequence[str], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._stopped = False
        self.process = QProcess(self)
        self.process.setProgram(sys.executable)
        self.process.setArguments(list(arguments))
        self.process.finished.connect(self._finished)
        self.process.errorOccurred.connect(self._failed_to_start)
        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self.stop)

    def start(self) -> None:
        """Start; returns at once."""
        self.process.start()

    def stop(self) -> None:
        """End it now, if it still runs."""
        if self.process.state() != QProcess.ProcessState.NotRunning:
            self._stopped = True
            self.process.kill()
            self.process.waitForFinished(_KILL_MS)

    def _end(self, code: int | None) -> str | None:
        """Tell of the end; None if all is well, else the reason.

        Args:
            code: exit status; None if the process crashed or was killed.
        """
        raise NotImplementedError

    def _error(self) -> str:
        """What came on standard error since it was last asked for."""
        return bytes(self.process.readAllStandardError().data()).decode(errors="replace")

    def _finished(self, code: int, status: QProcess.ExitStatus) -> None:
        if self._stopped:
            reason: str | None = ""
        else:
            reason = self._end(code if status == QProcess.ExitStatus.NormalExit else None)
        if reason is not None:
            self.refused.emit(reason)
        self.deleteLater()

    def _failed_to_start(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self.refused.emit(f"{self.process.program()} could not be started.")
            self.deleteLater()


def last_line(text: str, code: int | None) -> str:
    """The last line that says something; else how the process ended."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ended = "was ended from outside" if code is None else f"ended with code {code}"
    return lines[-1] if lines else f"The process {ended}."
