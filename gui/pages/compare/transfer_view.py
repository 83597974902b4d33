"""The transfer matrix on the Compare page."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from PySide6.QtCore import QModelIndex, QPoint, QRect, QSettings, Qt
from PySide6.QtGui import QRegion
from PySide6.QtSvg import QSvgGenerator
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QStackedWidget,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from engine.report.transfer import Matrix, transfers_text
from engine.store import ResultRow
from gui.base.model_names import titles
from gui.bridge.results_thread import ResultsThread
from gui.pages.compare.chart_view import ChartView
from gui.pages.compare.transfer_data import Transfers, read_transfers
from gui.pages.compare.transfer_model import MEASURES, TransferModel
from gui.widgets.empty_state import EmptyState
from gui.widgets.fill_box import fill_box
from gui.widgets.note_line import NoteLine

_ALONE = (
    "Nothing transfers here: no attack has finished runs on two variants. Compare the runs of a "
    "study that has a compression."
)
_NOT_JUDGED = (
    "No pair of these runs is judged. That happens after the last run of a study that keeps "
    "images; a study finished earlier judges its pairs when it is started again."
)


class TransferView(ChartView):
    """Sources down, targets across; numbers on colour."""

    id = "transfer"
    title = "Transfer"
    kind = "transfer"
    figure = "transfer rates"

    def __init__(self, results: ResultsThread, charts: QWidget, controls: QWidget) -> None:
        super().__init__(results, charts, controls)
        self._rows: Sequence[ResultRow] = ()
        self._found = Transfers()
        self._attack = ""
        self.attack_box, self.measure_box = QComboBox(self.controls), QComboBox(self.controls)
        self.attack_box.setAccessibleName("Attack")
        self.attack_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.measure_box.setAccessibleName("Measure")
        for measure in MEASURES:
            self.measure_box.addItem(measure.title, measure)
        self.model = TransferModel(self)
        self.stack = QStackedWidget(self)
        content = QWidget(self.stack)
        self.table = _heat_table(self.model, content)
        self.note = NoteLine("Note on the matrix", content)
        buttons = (("New study", self.new_study.emit),)
        self.empty = EmptyState("compare", _ALONE, buttons, self.stack)
        self._lay_out(content)
        self.attack_box.currentIndexChanged.connect(self._attack_chosen)
        self.measure_box.currentIndexChanged.connect(self._draw)
        self.table.clicked.connect(self._pick)
        self.table.activated.connect(self._pick)

    def _lay_out(self, content: QWidget) -> None:
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.table, 1)
        column.addWidget(self.note)
        self.stack.addWidget(content)
        self.stack.addWidget(self.empty)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.stack)
        self.add_control("&attack", self.attack_box)
        self.add_control("&measure", self.measure_box)

    def show_rows(self, rows: Sequence[ResultRow]) -> None:
        self._rows = rows
        self._ask()

    def _ask(self) -> None:
        rows, words, attack = self._rows, titles(), self._attack
        self.ask(lambda store: read_transfers(store, rows, words, attack), self._take)

    def _take(self, found: Transfers) -> None:
        if found == self._found and self.attack_box.count():
            self.told.emit()  # nothing to draw anew
            return
        self._found = found
        self.attack_box.blockSignals(True)
        fill_box(self.attack_box, [(attack, None) for attack in found.attacks])
        if found.matrix:
            self.attack_box.setCurrentText(found.matrix.title)
        self.attack_box.blockSignals(False)
        self.controls.setEnabled(bool(found.attacks))
        self.empty.text.setText(_NOT_JUDGED if found.several else _ALONE)
        self.stack.setCurrentIndex(0 if found.matrix else 1)
        self._draw()

    def _attack_chosen(self) -> None:
        self._attack = self.attack_box.currentText()
        self._ask()

    def matrix(self) -> Matrix | None:
        """What is shown."""
        return self._found.matrix

    def _draw(self) -> None:
        matrix, flagged = self._found.matrix, self._found.flagged
        self.model.show_matrix(matrix, self.measure_box.currentData(), flagged)
        if matrix:
            self.note.tell(*_note(matrix, flagged))
        self.told.emit()

    def _pick(self, index: QModelIndex) -> None:
        self.picked.emit(list(dict.fromkeys(self.model.pair(index))))

    def drawn_runs(self) -> list[int]:
        matrix = self.matrix()
        return list(matrix.runs) if matrix else []

    def save(self, path: Path) -> None:
        area = _whole(self.table)
        if path.suffix != ".svg":
            if not self.table.grab(area).save(str(path)):
                raise OSError(None, "the picture was refused")
            return
        generator = QSvgGenerator()
        generator.setFileName(str(path))
        generator.setSize(area.size())
        generator.setViewBox(area)
        self.table.render(generator, QPoint(), QRegion(area))
        if not path.is_file():
            raise OSError(None, "the picture was refused")

    def write_csv(self, path: Path) -> None:
        matrix = self.matrix()
        path.write_text(
            transfers_text(list(matrix.cells.values()) if matrix else [], "csv"), "utf-8"
        )

    def restore(self, settings: QSettings) -> None:
        self._attack = str(settings.value("compare/transfer_attack") or "")
        columns = [measure.column for measure in MEASURES]
        stored = str(settings.value("compare/measure") or columns[0])
        self.measure_box.setCurrentIndex(columns.index(stored) if stored in columns else 0)

    def save_state(self, settings: QSettings) -> None:
        settings.setValue("compare/transfer_attack", self._attack)
        settings.setValue("compare/measure", self.measure_box.currentData().column)


def _heat_table(model: TransferModel, parent: QWidget) -> QTableView:
    table = QTableView(parent)
    table.setModel(model)
    table.setAccessibleName("Transfer matrix: sources down, targets across")
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setTabKeyNavigation(False)
    table.setCornerButtonEnabled(False)
    table.setProperty("card", True)
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    table.horizontalHeader().setMinimumSectionSize(88)
    table.verticalHeader().setDefaultSectionSize(32)
    table.verticalHeader().setDefaultAlignment(
        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
    )
    return table


def _whole(table: QTableView) -> QRect:
    """The part of the table that holds cells, as far as it is in sight."""
    width = table.verticalHeader().width() + table.horizontalHeader().length()
    height = table.horizontalHeader().height() + table.verticalHeader().length()
    return table.rect().intersected(QRect(0, 0, width + 2, height + 2))


def _note(matrix: Matrix, flagged: Collection[int]) -> tuple[str, str]:
    text = (
        "Down: the source, whose kept examples are judged; across: the target that judges them. "
        "Bold: white-box, source = target. The rate counts images that the attack broke on the "
        f"source and that both models classify correctly clean ({matrix.images()})."
    )
    failed = [row["message"] for row in matrix.cells.values() if row["status"] == "failed"]
    if failed:
        text += f" {len(failed)} pairs failed: {failed[0]}"
    doubted = any(run in flagged for run in matrix.runs)
    if doubted:
        text += " In parentheses: a flagged run takes part."
    return text, "warning" if failed or doubted else "muted"
