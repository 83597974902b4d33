"""The queue as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PySide6.QtCore import QObject, Qt

from engine.events import CheckProgress, EpochFinished, RunProgress
from engine.store.columns import TableRow
from engine.store.run_table import RunTable
from gui.base import theme
from gui.base.model_names import model_title
from gui.base.words import duration
from gui.widgets.run_lines import NOWHERE, Index, RunLines

COLUMNS = ("#", "Run", "Study", "State", "Progress", "Time", "Reason and next step")
NUMBER, NAME, STUDY, STATE, PROGRESS, TIME, REASON = range(len(COLUMNS))
SHARE_ROLE = Qt.ItemDataRole.UserRole
"""Done share in [0,1] of the progress column."""

_ORDER = {"running": 0, "waiting": 1, "failed": 2, "cancelled": 3, "finished": 4}
_ROLES = {
    "running": "accent",
    "waiting": "muted",
    "failed": "danger",
    "cancelled": "muted",
    "finished": "ok",
}
Progress = RunProgress | EpochFinished | CheckProgress


class QueueModel(RunLines):
    """Runs in the order in which they run; what has ended comes last."""

    def __init__(self, table: RunTable, parent: QObject | None = None) -> None:
        super().__init__(table, parent)
        self._progress: Mapping[int, Progress] = {}

    def arrange(self, progress: Mapping[int, Progress], *, hide_finished: bool) -> None:
        """Look anew which runs are shown, and in which order."""
        self._progress = progress
        states = self.table.ranks("status", lambda status: _ORDER.get(status, len(_ORDER)))
        shown = self.table.shown()
        if hide_finished:
            shown &= self.table.where(("status",), lambda row: row["status"] != "finished")
        places = np.flatnonzero(shown)
        positions = self.table.numbers("position")
        self.show(places[np.lexsort((positions[places], states[places]))])

    def touch(self, run_id: int) -> None:
        """The progress of a run has changed."""
        line = self.line(run_id)
        if line is not None:
            self.announce(line, line)

    # -- what the view asks ----------------------------------------------------------------

    def columnCount(self, parent: Index = NOWHERE) -> int:
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation == Qt.Orientation.Vertical:
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(section)
        return COLUMNS[section] if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: Index, role: int = 0) -> Any:
        row, column = self.row(index.row()), index.column()
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return self._text(row, column)
            case Qt.ItemDataRole.ToolTipRole:
                return self._tip(row, column)
            case Qt.ItemDataRole.DecorationRole if column == STATE:
                return theme.icon(row["status"], _ROLES[row["status"]])
            case Qt.ItemDataRole.ForegroundRole if column in (STATE, REASON):
                return theme.colour(_ROLES[row["status"]])
            case Qt.ItemDataRole.TextAlignmentRole:
                return _alignment(column)
            case Qt.ItemDataRole.UserRole if column == PROGRESS:
                return self._share(row)
        return None

    def _text(self, row: TableRow, column: int) -> str:
        match column:
            case 0:
                return str(row["run_id"])
            case 1:
                return f"{model_title(row['model'])}, {row['compression']}, {row['attack']}"
            case 2:
                return row["study"] or ""
            case 3:
                return str(row["status"])
            case 4:
                return self._how_far(row)
            case 5:
                return self._time(row)
        return " ".join(filter(None, (_reason(row), row["hint"])))

    def _tip(self, row: TableRow, column: int) -> str | None:
        if column == REASON and row["message"]:
            reason = f"{row['message']} {row['hint'] or ''}".rstrip()
            return "\n\n".join(filter(None, (reason, (row["traceback"] or "")[-1500:])))
        if column == NAME:
            return f"{self._text(row, NAME)}\nModel {row['model']}"
        return self._text(row, column) if column in (NAME, STUDY, REASON) else None

    def _running(self, row: TableRow) -> Progress | None:
        return self._progress.get(row["run_id"]) if row["status"] == "running" else None

    def _how_far(self, row: TableRow) -> str:
        progress = self._running(row)
        if isinstance(progress, EpochFinished):
            return f"epoch {progress.at.done} / {progress.at.expected}"
        if isinstance(progress, CheckProgress):
            return f"check {progress.share:.0%}"
        done, total = (progress.done, progress.total) if progress else (row["done"], row["total"])
        return f"{done} / {total}" if total else ""

    def _share(self, row: TableRow) -> float:
        progress = self._running(row)
        if isinstance(progress, EpochFinished):
            done, total = progress.at.done, progress.at.expected
            return done / total
        if progress:
            return progress.share
        return row["done"] / row["total"] if row["total"] else 0.0

    def _time(self, row: TableRow) -> str:
        """What is left of a running run, what a finished one took."""
        progress = self._running(row)
        if progress:
            left = duration(progress.seconds_left)
            check = "check: " if isinstance(progress, CheckProgress) and progress.before else ""
            return f"{check}{left} left" if left else ""
        took = row["seconds"] if row["status"] == "finished" else None
        return duration(took) if took is None or took >= 60 else f"{took:.1f} s"


def _reason(row: TableRow) -> str:
    """Why a run failed, without the name of the run, which stands beside it."""
    reason = str(row["reason"] or row["message"] or "")
    return f"{reason} ({row['stage']})" if row["stage"] else reason


def _alignment(column: int) -> Qt.AlignmentFlag:
    number = column in (NUMBER, TIME)
    side = Qt.AlignmentFlag.AlignRight if number else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
