"""Importing a model in a process of its own, so that torch never enters the window."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from pydantic import ValidationError
from PySide6.QtCore import QCoreApplication, QObject, QProcess, Signal

from engine.importing.report import Report

_KILL_MS = 2000
_NOT_STORED = 1
"""Exit status of an import that gave a report but stored nothing."""

_PERCENT = re.compile(r"(\d{1,3})(?:\.\d+)?%")


def import_arguments(options: Sequence[str]) -> list[str]:
    """The command line, after the executable, that imports with these options."""
    # A frozen program is the command line itself and takes no -m.
    module = () if getattr(sys, "frozen", False) else ("-m", "engine")
    return [*module, "import", *options, "--json"]


class ImportProcess(QObject):
    """One import; deletes itself when it is over.

    Signals:
        told: what is being done, and how far in percent (-1 if that is not known).
        finished: the doctor's ``Report``; its ``model`` is empty if nothing was stored.
        refused: why there is no report, in words; empty if it was stopped.
    """

    told = Signal(str, int)
    finished = Signal(object)
    refused = Signal(str)

    def __init__(self, arguments: Sequence[str], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._stopped, self._error, self._rest = False, "", ""
        self.process = QProcess(self)
        self.process.setProgram(sys.executable)
        self.process.setArguments(list(arguments))
        self.process.readyReadStandardError.connect(self._read)
        self.process.finished.connect(self._finished)
        self.process.errorOccurred.connect(self._failed_to_start)
        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self.stop)

    def start(self) -> None:
        """Start; returns at once."""
        self.process.start()

    def stop(self) -> None:
        """End it now, if it still runs; nothing is stored then."""
        if self.process.state() != QProcess.ProcessState.NotRunning:
            self._stopped = True
            self.process.kill()
            self.process.waitForFinished(_KILL_MS)

    def _read(self) -> None:
        text = bytes(self.process.readAllStandardError().data()).decode(errors="replace")
        self._error = (self._error + text)[-20_000:]
        # A download redraws one line with carriage returns.
        *lines, self._rest = re.split(r"[\r\n]", self._rest + text)
        for line in filter(str.strip, lines):
            percent = _PERCENT.search(line)
            if percent and "|" in line:
                self.told.emit("Downloading the weights ...", min(int(percent[1]), 100))
            elif line.endswith("..."):
                self.told.emit(line.strip(), -1)

    def _finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._read()
        report = None
        if status == QProcess.ExitStatus.NormalExit and code in (0, _NOT_STORED):
            report = _report(bytes(self.process.readAllStandardOutput().data()))
        if self._stopped:
            self.refused.emit("")
        elif report is not None:
            self.finished.emit(report)
        else:
            self.refused.emit(_reason(self._error, code))
        self.deleteLater()

    def _failed_to_start(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self.refused.emit(f"{self.process.program()} could not be started.")
            self.deleteLater()


def _report(output: bytes) -> Report | None:
    """The report at the end of the output, before which a library may have said something."""
    text = output.decode(errors="replace")
    start = 0 if text.startswith("{") else text.find("\n{") + 1
    try:
        return Report.model_validate_json(text[start:])
    except ValidationError:
        return None


def _reason(error: str, code: int) -> str:
    """The sentence of a mendable error; else the last line, as of any crash."""
    _, found, told = error.rpartition("Error: ")
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if found and (not lines or not lines[0].startswith("Traceback")):
        return " ".join(told.split())
    return lines[-1] if lines else f"The process ended with code {code}."
