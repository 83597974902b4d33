"""Paired differences to the uncompressed model, as a table model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from engine.report.naming import shortened
from engine.report.tables import with_interval
from engine.statistics.intervals import PairedDifference
from engine.store import ResultRow
from gui.base.model_names import model_title

Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
_ROLE = Qt.ItemDataRole
COLUMNS = (
    ("Run", "Number of the run."),
    ("Model", "The base model."),
    ("Compression", "The variant."),
    ("Attack", "The attack."),
    ("Robust % [95 %]", "Share of all images that hold, with its Wilson interval."),
    (
        "Difference [95 %]",
        "Robust accuracy minus that of the uncompressed model on the same images, in points, "
        "with its score interval (Tango).",
    ),
    ("McNemar p", "Exact two-sided test of no difference between the two runs."),
    ("Only here", "Images broken in this run and not in the uncompressed model."),
    ("Only in none", "Images broken in the uncompressed model and not in this run."),
)
_MODEL, _COMPRESSION = 1, 2
_NUMBERS_FROM = 4


@dataclass(frozen=True)
class Comparison:
    """A run and how it differs from its baseline; ``reason`` says why there is no difference."""

    row: ResultRow
    difference: PairedDifference | None = None
    reason: str = ""

    def texts(self) -> tuple[str, ...]:
        """One text per column."""
        row = self.row
        names = (str(row["run_id"]), model_title(row["model"]), row["compression"], row["attack"])
        difference = self.difference
        if difference is None:
            return (*names, with_interval(row), self.reason, "", "", "")
        return (
            *names,
            with_interval(row),
            difference_text(difference),
            p_text(difference.p_value),
            str(difference.only_a),
            str(difference.only_b),
        )


def difference_text(difference: PairedDifference) -> str:
    """``-3.1 [-5.9, -0.3]`` in points."""
    middle, low, high = (
        100 * value for value in (difference.difference, difference.low, difference.high)
    )
    return f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]"


def p_text(p_value: float) -> str:
    """``0.012``, or ``< 0.001``."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


class DifferenceModel(QAbstractTableModel):
    """One row per run."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.comparisons: list[Comparison] = []
        self._short: dict[str, str] = {}

    def set_comparisons(self, comparisons: Sequence[Comparison]) -> None:
        """Show these."""
        self.beginResetModel()
        self.comparisons = list(comparisons)
        self._short = shortened([comparison.row for comparison in comparisons])
        self.endResetModel()

    def replace(self, line: int, comparison: Comparison) -> None:
        """Fill in one row."""
        self.comparisons[line] = comparison
        self.dataChanged.emit(self.index(line, 0), self.index(line, len(COLUMNS) - 1))

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.comparisons)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = _ROLE.DisplayRole
    ) -> Any:
        if orientation == Qt.Orientation.Vertical:
            return None
        if role == _ROLE.TextAlignmentRole:
            return _alignment(section)
        if role == _ROLE.DisplayRole:
            return COLUMNS[section][0]
        return COLUMNS[section][1] if role == _ROLE.ToolTipRole else None

    def data(self, index: Index, role: int = _ROLE.DisplayRole) -> Any:
        if role in (_ROLE.DisplayRole, _ROLE.ToolTipRole):
            text = self.comparisons[index.row()].texts()[index.column()]
            if index.column() == _MODEL and role == _ROLE.ToolTipRole:
                return f"{text}\n{self.comparisons[index.row()].row['model']}"
            shown = index.column() == _COMPRESSION and role == _ROLE.DisplayRole
            return self._short[text] if shown else text
        if role == _ROLE.TextAlignmentRole:
            return _alignment(index.column())
        return None


def _alignment(column: int) -> Qt.AlignmentFlag:
    number = column == 0 or column >= _NUMBERS_FROM
    side = Qt.AlignmentFlag.AlignRight if number else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
