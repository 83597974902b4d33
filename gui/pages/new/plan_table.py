"""The runs that a draft will make, one per row."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHeaderView,
    QLabel,
    QTableView,
    QVBoxLayout,
)

from engine.specs.choices import recipe_label
from engine.specs.study import Study
from gui.widgets.tables import set_up_table

LEAST_HEIGHT = 144
"""Less room than this shows too few runs to be of use."""

_TITLES = ("Model", "Compression", "Attack", "Seed")
_Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()


class PlanModel(QAbstractTableModel):
    """Model, compression, attack and seed of each run, made for the rows that are looked at."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._study: Study | None = None
        self._count = 0
        self._words: dict[int, tuple[str, ...]] = {}

    def set_study(self, study: Study | None) -> None:
        """Show the runs of this one."""
        self.beginResetModel()
        self._study = study
        self._count = study.count() if study else 0
        self._words.clear()
        self.endResetModel()

    def rowCount(self, parent: _Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else self._count

    def columnCount(self, parent: _Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(_TITLES)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation == Qt.Orientation.Vertical:
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        return _TITLES[section] if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: _Index, role: int = 0) -> Any:
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return None
        return self._in_words(index.row())[index.column()]

    def _in_words(self, row: int) -> tuple[str, ...]:
        if row not in self._words:
            assert self._study is not None
            run = self._study.planned(row)
            again = "" if run.attack_seed is None else f", attack {run.attack_seed}"
            words = (run.model, recipe_label(run.recipe), run.attack.label, f"{run.seed}{again}")
            self._words[row] = words
        return self._words[row]


class PlanTable(QFrame):
    """A card that lists what will run, in this order."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("card", True)
        self.model, self.table = PlanModel(self), QTableView()
        heading = QLabel("What will run, in this order")
        heading.setProperty("role", "heading")
        self._set_up_table()
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 12, 16, 12)
        column.addWidget(heading)
        column.addWidget(self.table, 1)

    def _set_up_table(self) -> None:
        table = self.table
        table.setModel(self.model)
        set_up_table(table, "Planned runs", 24)
        table.setFrameShape(QFrame.Shape.NoFrame)
        table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
