"""The checkpoint doctor's report, as a person reads it: the verdict first."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from engine.importing.report import Report, Trial
from gui.library import import_words as words
from gui.library.small_table import SmallTable
from gui.widgets.facts import Facts
from gui.widgets.traffic_light import LightIcon

_BANNER = {"ok": "ok", "warning": "warning", "danger": "error"}


class ReportView(QScrollArea):
    """Verdict, accuracy, what it is, what was tried, and how dense each layer is.

    Signals:
        candidate_changed: another of the networks that the shapes allow is selected.
    """

    candidate_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.candidates: SmallTable | None = None
        self._numbers: list[int] = []
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Report of the checkpoint doctor")
        self.verdict, self.accuracy = QLabel(self), QLabel(self)
        self.verdict.hide()
        self.accuracy.hide()

    def show_report(self, report: Report) -> None:
        """Show this one in place of any before."""
        inside = QWidget()
        inside.setObjectName("scrolled")
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(12)
        column.addWidget(self._banner(report))
        self._add_candidates(column, report)
        column.addWidget(Facts("What it is", words.facts(report), inside))
        self._add_trials(column, "Normalisations that were tried", report.normalisation_trials)
        self._add_trials(column, "Densities that were tried", report.density_trials)
        self._add_layers(column, report)
        column.addStretch()
        self.setWidget(inside)

    def _banner(self, report: Report) -> QFrame:
        level = words.LEVELS[report.health]
        self.verdict, self.accuracy = QLabel(words.in_window(report.verdict)), QLabel()
        self.accuracy.setText(words.accuracy(report))
        self.verdict.setProperty("role", "heading")
        self.verdict.setAccessibleName("Verdict")
        self.accuracy.setAccessibleName("Clean accuracy")
        lines = QVBoxLayout()
        lines.setSpacing(2)
        for label in (self.verdict, self.accuracy):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            lines.addWidget(label)
        banner = QFrame()
        banner.setObjectName("message")
        banner.setProperty("level", _BANNER[level])
        row = QHBoxLayout(banner)
        row.setContentsMargins(12, 8, 12, 8)
        row.setSpacing(12)
        row.addWidget(LightIcon(level, 24), 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(lines, 1)
        return banner

    def _add_candidates(self, column: QVBoxLayout, report: Report) -> None:
        """To choose from where the images do not decide."""
        self.candidates, self._numbers = None, [one.number for one in report.guesses]
        if len(report.guesses) < 2:
            return
        table = SmallTable(
            ("Candidate", "Network", "Right", ""), "Networks that the shapes allow", widest=1
        )
        self._add(
            column, f"Networks that the shapes allow, on {report.guesses[0].images} images", table
        )
        table.set_rows(words.guess_rows(report), [one.chosen for one in report.guesses])
        if report.model:
            return
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        chosen = next((row for row, one in enumerate(report.guesses) if one.chosen), 0)
        table.selectRow(chosen)
        table.itemSelectionChanged.connect(self.candidate_changed)
        self.candidates = table

    @property
    def candidate(self) -> int | None:
        """The number of the network that is selected; None where none is to be chosen."""
        row = self.candidates.currentRow() if self.candidates is not None else -1
        return self._numbers[row] if row >= 0 else None

    def _add_trials(self, column: QVBoxLayout, title: str, trials: tuple[Trial, ...]) -> None:
        if len(trials) < 2:
            return
        rows = words.trial_rows(trials)
        table = SmallTable(("Tried", "Right", "Loss", "Beside the chosen one", ""), title)
        self._add(column, f"{title} on {trials[0].images} images", table)
        table.set_rows(
            [
                (row.label, row.accuracy, row.loss, row.gap, "chosen" if row.chosen else "")
                for row in rows
            ],
            [row.chosen for row in rows],
        )

    def _add_layers(self, column: QVBoxLayout, report: Report) -> None:
        rows = words.layer_rows(report)
        if not rows:
            return
        table = SmallTable(("Layer", "Weights", "Not zero"), "Density of each layer")
        self._add(column, "Density of each layer, sparsest first", table)
        table.set_rows(rows)

    @staticmethod
    def _add(column: QVBoxLayout, title: str, table: SmallTable) -> None:
        heading = QLabel(title)
        heading.setProperty("role", "heading")
        column.addWidget(heading)
        column.addWidget(table)
