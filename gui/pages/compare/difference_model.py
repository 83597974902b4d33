"""Paired differences to a baseline, as a table model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from engine.report.differences import in_points, p_text
from engine.report.naming import shortened
from engine.report.tables import of_correct, perturbation, with_interval
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
        "Robust accuracy minus that of the baseline on the same images, in points, with its score "
        "interval (Tango).",
    ),
    ("McNemar p", "Exact two-sided test of no difference between the two runs."),
    (
        "p (Holm)",
        "The same for all rows together: below 0.05 none of them is told apart by accident. "
        "Narrow the rows to the comparisons that you mean.",
    ),
    ("Only here", "Images broken in this run and not in that of the baseline."),
    ("Only there", "Images broken in the run of the baseline and not in this one."),
    ("Beside", "Number of the run of the baseline."),
    (
        "Of correct % [95 %]",
        "Of the images that were right before the attack the share that holds: robust / clean.",
    ),
    ("Perturbation", "Mean over the images that the attack broke, in its norm."),
    ("Parameters", "Of the variant."),
)
_MODEL, _COMPRESSION = 1, 2
_NUMBERS_FROM = 4
_HOLM = [name for name, _ in COLUMNS].index("p (Holm)")


@dataclass(frozen=True)
class Comparison:
    """A run and how it differs from its baseline; ``reason`` says why there is no difference.

    ``beside`` is the run of the baseline, where there is a difference.
    """

    row: ResultRow
    beside: ResultRow | None = None
    difference: PairedDifference | None = None
    reason: str = ""

    def texts(self) -> tuple[str, ...]:
        """One text per column."""
        return tuple(cell(self) for cell in _CELLS)


def _of_row(text: Callable[[ResultRow], str]) -> Callable[[Comparison], str]:
    return lambda one: text(one.row)


def _of_difference(text: Callable[[PairedDifference], str]) -> Callable[[Comparison], str]:
    return lambda one: "" if one.difference is None else text(one.difference)


def _difference(one: Comparison) -> str:
    return one.reason if one.difference is None else in_points(one.difference)


_CELLS: tuple[Callable[[Comparison], str], ...] = (
    _of_row(lambda row: str(row["run_id"])),
    _of_row(lambda row: model_title(row["model"])),
    _of_row(lambda row: row["compression"]),
    _of_row(lambda row: row["attack"]),
    _of_row(with_interval),
    _difference,
    _of_difference(lambda found: p_text(found.p_value)),
    lambda one: "",  # p (Holm): of all rows, so the model has it
    _of_difference(lambda found: str(found.only_a)),
    _of_difference(lambda found: str(found.only_b)),
    lambda one: str(one.beside["run_id"]) if one.difference and one.beside else "",
    _of_row(of_correct),
    _of_row(perturbation),
    _of_row(lambda row: "" if row["parameters"] is None else f"{row['parameters']:,}"),
)
"""The texts of ``COLUMNS``, each made when it is looked at."""


class DifferenceModel(QAbstractTableModel):
    """One row per run."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.comparisons: list[Comparison] = []
        self._short: dict[str, str] = {}
        self.adjusted: Mapping[int, float] = {}

    def set_comparisons(
        self, comparisons: Sequence[Comparison], adjusted: Mapping[int, float] | None = None
    ) -> None:
        """Show these, with their p-values after Holm by line, as far as these are known."""
        self.beginResetModel()
        self.comparisons = list(comparisons)
        self.adjusted = adjusted or {}
        self._short = shortened([comparison.row for comparison in comparisons])
        self.endResetModel()

    def replace(self, line: int, comparison: Comparison) -> None:
        """Fill in one row."""
        self.comparisons[line] = comparison
        self.dataChanged.emit(self.index(line, 0), self.index(line, len(COLUMNS) - 1))

    def adjust(self, adjusted: Mapping[int, float]) -> None:
        """Show p-values after Holm, by line."""
        if adjusted != self.adjusted and self.comparisons:
            self.adjusted = adjusted
            last = self.index(len(self.comparisons) - 1, _HOLM)
            self.dataChanged.emit(self.index(0, _HOLM), last)

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
            if index.column() == _HOLM:
                line = index.row()
                return p_text(self.adjusted[line]) if line in self.adjusted else ""
            text = _CELLS[index.column()](self.comparisons[index.row()])
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
