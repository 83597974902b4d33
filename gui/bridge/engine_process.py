"""A command of the engine in a process of its own, so that its libraries never enter the window."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication, QObject, QProcess, Signal

_KILL_MS = 2000
_KEPT = 50
"""Lines of what libraries print that are kept for the case of a crash."""


def engine_arguments(*command: str) -> list[str]:
    """The command line, after the executable, of a command of the engine that tells in lines.

    The current folder is not looked into (-P): an engine.py or json.py there is none of ours.
    """
    # A frozen program is the command line itself and takes no -m.
    module = () if getattr(sys, "frozen", False) else ("-P", "-m", "engine")
    return [*module, "--lines", *command]


class EngineProcess(QObject):
    """One command; deletes itself when it is over.

    A subclass listens to ``process`` on the way, and says whether all went well (``_end``).
    Progress and errors come as JSON lines on standard error (``engine.cli.lines``).

    Signals:
        told: what is being done, and how far in [0,1] (-1 if that is not known).
        arriving: of a file that is fetched, bytes that are there and in all (0 if unknown).
        refused: why it came to nothing, in words, and the option of the command line that is to
            blame; both empty if it was stopped, the second where none is known.
    """

    told = Signal(str, float)
    arriving = Signal(object, object)
    refused = Signal(str, str)
    table: tuple[tuple[str, ...], ...] = ()
    """What a refusal is about in rows, the first the headings; empty for most."""

    def __init__(self, arguments: Sequence[str], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._stopped = False
        self._printed: list[str] = []
        self._refusal: tuple[str, str] | None = None
        self.process = QProcess(self)
        self.process.setProgram(sys.executable)
        self.process.setArguments(list(arguments))
        self.process.readyReadStandardError.connect(self._read_error)
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

    def _end(self, code: int | None) -> bool:
        """Tell of the end; False if nothing came of it.

        Args:
            code: exit status; None if the process crashed or was killed.
        """
        raise NotImplementedError

    def _read_error(self) -> None:
        self.process.setReadChannel(QProcess.ProcessChannel.StandardError)
        while self.process.canReadLine():
            self._hear(bytes(self.process.readLine().data()))

    def _hear(self, line: bytes) -> None:
        """Take in a line of standard error: an object for the window, or what a library prints."""
        match as_object(line):
            case {"doing": str(doing), **more}:
                self.told.emit(doing, float(more.get("share", -1)))
                if "done" in more:
                    self.arriving.emit(more["done"], more["total"] or 0)
            case {"error": str(message), "hint": str(hint), "field": str(field), **more}:
                self._refusal = f"{message} {hint}".strip(), field
                self.table = tuple(tuple(map(str, row)) for row in more.get("table", ()))
            case _:
                text = line.decode(errors="replace").strip()
                self._printed = [*self._printed, text][-_KEPT:] if text else self._printed

    def _finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._read_error()
        self._hear(bytes(self.process.readAllStandardError().data()))  # a line without an end
        if self._stopped:
            self.refused.emit("", "")
        else:
            ended = code if status == QProcess.ExitStatus.NormalExit else None
            if not self._end(ended):
                self.refused.emit(*(self._refusal or (self._last_words(ended), "")))
        self.deleteLater()

    def _last_words(self, code: int | None) -> str:
        """What was printed last; else how the process ended."""
        ended = "was ended from outside" if code is None else f"ended with code {code}"
        return self._printed[-1] if self._printed else f"The process {ended}."

    def _failed_to_start(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self.refused.emit(f"{self.process.program()} could not be started.", "")
            self.deleteLater()


class FileProcess(EngineProcess):
    """A command that writes one file.

    Args:
        arguments: the command line that writes it.
        out: the file that comes of it.

    Signals:
        written: the file, once it is there.
    """

    written = Signal(object)

    def __init__(self, arguments: Sequence[str], out: Path, parent: QObject | None = None) -> None:
        super().__init__(arguments, parent)
        self._out = out

    def _end(self, code: int | None) -> bool:
        if code != 0 or not self._out.is_file():
            return False
        self.written.emit(self._out)
        return True


def as_object(line: bytes) -> dict[str, Any]:
    """The JSON object of a line; empty if it is none."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
