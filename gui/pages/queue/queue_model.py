"""The queue as a table; rows change in place, so selection and scrolling stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from engine.events import CheckProgress, EpochFinished, RunProgress
from engine.store import QueueRow
from gui.base import theme
from gui.base.model_names import model_title
from gui.base.words import duration

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
_Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
Progress = RunProgress | EpochFinished | CheckProgress


class QueueModel(QAbstractTableModel):
    """Runs in the order in which they run; what has ended comes last."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._rows: list[QueueRow] = []
        self._progress: Mapping[int, Progress] = {}

    # -- what the view asks ----------------------------------------------------------------

    def rowCount(self, parent: _Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: _Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation == Qt.Orientation.Vertical:
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(section)
        return COLUMNS[section] if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: _Index, role: int = 0) -> Any:
        row, column = self._rows[index.row()], index.column()
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

    def _text(self, row: QueueRow, column: int) -> str:
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

    def _tip(self, row: QueueRow, column: int) -> str | None:
        if column == REASON and row["message"]:
            reason = f"{row['message']} {row['hint'] or ''}".rstrip()
            return "\n\n".join(filter(None, (reason, (row["traceback"] or "")[-1500:])))
        if column == NAME:
            return f"{self._text(row, NAME)}\nModel {row['model']}"
        return self._text(row, column) if column in (NAME, STUDY, REASON) else None

    def _running(self, row: QueueRow) -> Progress | None:
        return self._progress.get(row["run_id"]) if row["status"] == "running" else None

    def _how_far(self, row: QueueRow) -> str:
        progress = self._running(row)
        if isinstance(progress, EpochFinished):
            return f"epoch {progress.at.done} / {progress.at.expected}"
        if isinstance(progress, CheckProgress):
            return f"check {progress.share:.0%}"
        done, total = (progress.done, progress.total) if progress else (row["done"], row["total"])
        return f"{done} / {total}" if total else ""

    def _share(self, row: QueueRow) -> float:
        progress = self._running(row)
        if isinstance(progress, EpochFinished):
            done, total = progress.at.done, progress.at.expected
            return done / total
        if progress:
            return progress.share
        return row["done"] / row["total"] if row["total"] else 0.0

    def _time(self, row: QueueRow) -> str:
        """What is left of a running run, what a finished one took."""
        progress = self._running(row)
        if progress:
            left = duration(progress.seconds_left)
            check = "check: " if isinstance(progress, CheckProgress) and progress.before else ""
            return f"{check}{left} left" if left else ""
        took = row["seconds"] if row["status"] == "finished" else None
        return duration(took) if took is None or took >= 60 else f"{took:.1f} s"

    def row(self, index: int) -> QueueRow:
        """The stored row at a place."""
        return self._rows[index]

    # -- updates ---------------------------------------------------------------------------

    def update(self, rows: Sequence[QueueRow], progress: Mapping[int, Progress]) -> None:
        """Show these rows; only what differs is announced."""
        rows = sorted(rows, key=lambda row: _ORDER[row["status"]])
        self._progress = progress
        self._remove({row["run_id"] for row in rows})
        self._append(rows)
        self._reorder([row["run_id"] for row in rows])
        for line, row in enumerate(rows):
            if row != self._rows[line]:
                self._rows[line] = row
                self._announce(line)

    def touch(self, run_id: int) -> None:
        """The progress of a run has changed."""
        for line, row in enumerate(self._rows):
            if row["run_id"] == run_id:
                self._announce(line)
                return

    def _announce(self, line: int) -> None:
        self.dataChanged.emit(self.index(line, 0), self.index(line, len(COLUMNS) - 1))

    def _remove(self, keep: set[int]) -> None:
        for line in reversed(range(len(self._rows))):
            if self._rows[line]["run_id"] not in keep:
                self.beginRemoveRows(_NOWHERE, line, line)
                del self._rows[line]
                self.endRemoveRows()

    def _append(self, rows: Sequence[QueueRow]) -> None:
        known = {row["run_id"] for row in self._rows}
        fresh = [row for row in rows if row["run_id"] not in known]
        if fresh:
            self.beginInsertRows(_NOWHERE, len(self._rows), len(self._rows) + len(fresh) - 1)
            self._rows += fresh
            self.endInsertRows()

    def _reorder(self, order: Sequence[int]) -> None:
        if [row["run_id"] for row in self._rows] == order:
            return
        self.layoutAboutToBeChanged.emit()
        position = {run_id: number for number, run_id in enumerate(order)}
        old = self.persistentIndexList()
        ids = [self._rows[index.row()]["run_id"] for index in old]
        self._rows.sort(key=lambda row: position[row["run_id"]])
        new = [
            self.index(position[run_id], index.column())
            for run_id, index in zip(ids, old, strict=True)
        ]
        self.changePersistentIndexList(old, new)
        self.layoutChanged.emit()


def _reason(row: QueueRow) -> str:
    """Why a run failed, without the name of the run, which stands beside it."""
    reason = str(row["reason"] or row["message"] or "")
    return f"{reason} ({row['stage']})" if row["stage"] else reason


def _alignment(column: int) -> Qt.AlignmentFlag:
    number = column in (NUMBER, TIME)
    side = Qt.AlignmentFlag.AlignRight if number else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
