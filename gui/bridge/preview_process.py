"""Decoding pictures in a process of its own: they are files of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from gui.bridge.engine_process import EngineProcess, engine_arguments, last_line


def preview_arguments(table: Mapping[str, Any], out: Path) -> list[str]:
    """The command line, after the executable, that shows pictures of this dataset."""
    names = {"name": "dataset", "folder": "folder", "root": "root"}
    names |= {"resize": "resize", "crop": "crop"}
    given = [(names[key], str(value)) for key, value in table.items() if key in names]
    options = [part for name, value in given for part in (f"--{name}", value)]
    return engine_arguments("preview", *options, "--out", str(out))


class PreviewProcess(EngineProcess):
    """One sheet of pictures.

    Signals:
        drawn: the file that was written.
    """

    drawn = Signal(object)

    def __init__(self, arguments: list[str], out: Path, parent: QObject | None = None) -> None:
        super().__init__(arguments, parent)
        self._out = out

    def _end(self, code: int | None) -> str | None:
        if code != 0 or not self._out.is_file():
            return last_line(self._error(), code).removeprefix("Error: ")
        self.drawn.emit(self._out)
        return None
