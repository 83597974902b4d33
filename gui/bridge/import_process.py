"""Importing a model in a process of its own, so that torch never enters the window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from PySide6.QtCore import Signal

from gui.bridge.engine_process import EngineProcess, engine_arguments

if TYPE_CHECKING:  # as parameter models do, it takes long to make
    from engine.importing.report import Report

_NOT_STORED = 1
"""Exit status of an import that gave a report but stored nothing."""


def import_arguments(options: Sequence[str]) -> list[str]:
    """The command line, after the executable, that imports with these options."""
    return engine_arguments("import", *options, "--json")


def class_arguments(file: str, out: Path, part: str) -> list[str]:
    """The command line that writes a Python file for the network of a checkpoint."""
    of_part = ("--part", part) if part else ()
    return engine_arguments("import", file, *of_part, "--write-class", str(out))


class ImportProcess(EngineProcess):
    """One import; if it is stopped, nothing is stored.

    Signals:
        finished: the doctor's ``Report``; its ``model`` is empty if nothing was stored.
    """

    finished = Signal(object)

    def _end(self, code: int | None) -> bool:
        if code not in (0, _NOT_STORED):
            return False
        report = _report(bytes(self.process.readAllStandardOutput().data()))
        if report is None:
            return False
        doubted = self._refusal[1] if self._refusal else ""
        self.finished.emit(report.model_copy(update={"doubted": doubted}))
        return True


def _report(output: bytes) -> Report | None:
    """The report at the end of the output, before which a library may have said something."""
    from engine.importing.report import Report

    text = output.decode(errors="replace")
    start = 0 if text.startswith("{") else text.find("\n{") + 1
    try:
        return Report.model_validate_json(text[start:])
    except ValidationError:
        return None
