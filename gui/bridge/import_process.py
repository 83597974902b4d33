"""Importing a model in a process of its own, so that torch never enters the window."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import ValidationError
from PySide6.QtCore import QObject, Signal

from engine.importing.report import Report
from gui.bridge.engine_process import EngineProcess, engine_arguments, last_line

_NOT_STORED = 1
"""Exit status of an import that gave a report but stored nothing."""

_PERCENT = re.compile(r"(\d{1,3})(?:\.\d+)?%")


def import_arguments(options: Sequence[str]) -> list[str]:
    """The command line, after the executable, that imports with these options."""
    return engine_arguments("import", *options, "--json")


class ImportProcess(EngineProcess):
    """One import; if it is stopped, nothing is stored.

    Signals:
        told: what is being done, and how far in percent (-1 if that is not known).
        finished: the doctor's ``Report``; its ``model`` is empty if nothing was stored.
    """

    told = Signal(str, int)
    finished = Signal(object)

    def __init__(self, arguments: Sequence[str], parent: QObject | None = None) -> None:
        super().__init__(arguments, parent)
        self._said, self._rest = "", ""
        self.process.readyReadStandardError.connect(self._read)

    def _read(self) -> None:
        text = self._error()
        self._said = (self._said + text)[-20_000:]
        # A download redraws one line with carriage returns.
        *lines, self._rest = re.split(r"[\r\n]", self._rest + text)
        for line in filter(str.strip, lines):
            percent = _PERCENT.search(line)
            if percent and "|" in line:
                self.told.emit("Downloading the weights ...", min(int(percent[1]), 100))
            elif line.endswith("..."):
                self.told.emit(line.strip(), -1)

    def _end(self, code: int | None) -> str | None:
        self._read()
        report = None
        if code in (0, _NOT_STORED):
            report = _report(bytes(self.process.readAllStandardOutput().data()))
        if report is None:
            return _reason(self._said, code)
        self.finished.emit(report)
        return None


def _report(output: bytes) -> Report | None:
    """The report at the end of the output, before which a library may have said something."""
    text = output.decode(errors="replace")
    start = 0 if text.startswith("{") else text.find("\n{") + 1
    try:
        return Report.model_validate_json(text[start:])
    except ValidationError:
        return None


def _reason(error: str, code: int | None) -> str:
    """The sentence of a mendable error; else the last line, as of any crash."""
    _, found, told = error.rpartition("Error: ")
    if found and not error.lstrip().startswith("Traceback"):
        return " ".join(told.split())
    return last_line(error, code)
