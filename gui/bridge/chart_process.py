"""Drawing charts for print in a process of its own: matplotlib never enters the window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from gui.bridge.engine_process import EngineProcess, engine_arguments, last_line


def chart_arguments(
    database: Path, kind: str, run_ids: Sequence[int], out: Path, axes: Sequence[str] = ()
) -> list[str]:
    """The command line, after the executable, that draws these runs along these axes."""
    runs = [part for run_id in run_ids for part in ("--run", str(run_id))]
    place = ("--out", str(out))
    return engine_arguments("chart", "--kind", kind, "--db", str(database), *axes, *runs, *place)


class ChartProcess(EngineProcess):
    """One export.

    Signals:
        written: the file that was written.
    """

    written = Signal(object)

    def __init__(self, arguments: Sequence[str], out: Path, parent: QObject | None = None) -> None:
        super().__init__(arguments, parent)
        self._out = out

    def _end(self, code: int | None) -> str | None:
        if code != 0 or not self._out.is_file():
            return last_line(self._error(), code)
        self.written.emit(self._out)
        return None
