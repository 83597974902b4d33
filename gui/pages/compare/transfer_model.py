"""The transfer matrix as a table: a row per source, a column per target, colour by share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor, QFont

from engine.report.transfer import Matrix, interval
from engine.statistics.words import in_percent
from engine.store import TransferRow

_Role = Qt.ItemDataRole
Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True)
class Measure:
    """What the cells tell: a column of ``Store.transfers`` and the prefix of its interval."""

    column: Literal["transfer_rate", "accuracy"]
    prefix: str
    title: str


MEASURES = (
    Measure("transfer_rate", "rate", "transfer rate (%)"),
    Measure("accuracy", "accuracy", "accuracy of the target (%)"),
)


class TransferModel(QAbstractTableModel):
    """Cells know their pair; those of flagged runs stand in parentheses."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.matrix: Matrix | None = None
        self._order: list[int] = []
        self._flagged: frozenset[int] = frozenset()
        self._measure = MEASURES[0]

    @cached_property
    def _map(self) -> Any:
        from gui.widgets.plots import pg

        return pg.colormap.get("cividis")

    def show_matrix(
        self, matrix: Matrix | None, measure: Measure, flagged: Collection[int]
    ) -> None:
        """Replace what is shown."""
        self.beginResetModel()
        self.matrix, self._measure, self._flagged = matrix, measure, frozenset(flagged)
        self._order = list(matrix.runs) if matrix else []
        self.endResetModel()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008  Qt's own signature
        return 0 if parent.isValid() else len(self._order)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return self.rowCount(parent)

    def pair(self, index: Index) -> tuple[int, int]:
        """The source and the target run of a cell."""
        return self._order[index.row()], self._order[index.column()]

    def _row(self, index: Index) -> TransferRow | None:
        assert self.matrix is not None
        return self.matrix.cells.get(self.pair(index))

    def data(self, index: Index, role: int = _Role.DisplayRole) -> Any:
        row = self._row(index)
        share = row[self._measure.column] if row else None
        match role:
            case _Role.DisplayRole:
                return self._text(index, share)
            case _Role.ToolTipRole:
                return self._words(index, row)
            case _Role.BackgroundRole if share is not None:
                return QColor(*(int(part) for part in self._map.map(share)[:3]))
            case _Role.ForegroundRole if share is not None:
                return QColor("#ffffff" if share < 0.55 else "#000000")
            case _Role.TextAlignmentRole:
                return Qt.AlignmentFlag.AlignCenter
            case _Role.FontRole if index.row() == index.column():
                font = QFont()
                font.setBold(True)
                return font
        return None

    def _text(self, index: Index, share: float | None) -> str:
        if share is None:
            return "–"
        doubted = not self._flagged.isdisjoint(self.pair(index))
        return f"({in_percent(share)})" if doubted else in_percent(share)

    def _words(self, index: Index, row: TransferRow | None) -> str:
        assert self.matrix is not None
        source, target = (f"{self.matrix.runs[run]} (run {run})" for run in self.pair(index))
        lines = [f"Examples made on {source}, judged on {target}."]
        if row is None:
            return "\n".join([*lines, "Not judged yet."])
        if row["message"]:
            lines.append(row["message"])
        if row["n"] is not None:
            rate = interval(row, "transfer_rate", "rate")
            rate = f"{rate} %" if rate else "no image to judge"
            lines.append(f"Transfer rate {rate}: {row['fooled']} of {row['n']} images.")
        if row["kept"] and row["broken"] is not None:
            held = row["kept"] - row["broken"]
            share = interval(row, "accuracy", "accuracy")
            lines.append(f"Accuracy {share} %: {held} of {row['kept']} examples.")
        if index.row() == index.column():
            lines.append("White-box: the model that the examples were made on.")
        return "\n".join(lines)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole
    ) -> Any:
        if role in (_Role.DisplayRole, _Role.ToolTipRole) and self.matrix is not None:
            return self.matrix.runs[self._order[section]]
        return None
