"""Security curves on the Compare page: which are drawn, in which norm, with what beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QComboBox, QStackedWidget, QVBoxLayout, QWidget

from engine.report.identity import attack_name
from engine.report.security import Panel, SecurityLine
from engine.store import DistanceRow, ResultRow
from gui.bridge.results_thread import ResultsThread
from gui.pages.compare.chart_view import ChartSplit, ChartView
from gui.pages.compare.picture import save_picture
from gui.pages.compare.security_data import (
    NamedPanel,
    note_of,
    read_panels,
    values_at,
    write_security_csv,
)
from gui.pages.compare.series_list import SeriesList
from gui.widgets.empty_state import EmptyState
from gui.widgets.note_line import NoteLine

if TYPE_CHECKING:  # pyqtgraph takes long to import, and comes with the first chart
    from gui.pages.compare.security_chart import SecurityChart


class SecurityView(ChartView):
    """One norm at a time."""

    id = "security"
    title = "Security curve"
    kind = "security"
    figure = "security curves"

    def __init__(self, results: ResultsThread, charts: QWidget, controls: QWidget) -> None:
        super().__init__(results, charts, controls)
        self._rows: Sequence[ResultRow] = ()
        self._samples: dict[int, Sequence[DistanceRow]] = {}  # of the thread that reads
        self._panels: list[NamedPanel] = []
        self._norm = ""
        self._run_ids: list[int] = []
        self.norm_box = QComboBox(self.controls)
        self.norm_box.setAccessibleName("Norm")
        self.norm_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.stack = QStackedWidget(self)
        self._split = ChartSplit(self.stack)
        side = self._split.side
        self.series = SeriesList(side, markers=False)
        self.values = NoteLine("Values under the pointer", side)
        self.note = NoteLine("Note on the chart", side)
        self._split.stack(self.series, self.values, self.note)
        self.empty = EmptyState(
            "compare",
            "No run here has distances. Add a minimum-norm attack such as fmn, ddn, cw-l2 or "
            "deepfool to the study: one run of it gives the robust accuracy at every eps.",
            (("New study", self.new_study.emit),),
            self.stack,
        )
        self.stack.addWidget(self._split)
        self.stack.addWidget(self.empty)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.stack)
        self.add_control("&norm", self.norm_box)
        self.norm_box.currentIndexChanged.connect(self._norm_chosen)
        self.series.changed.connect(self._draw)

    @cached_property
    def chart(self) -> SecurityChart:
        """Made with the first curves, when the page is in sight: it takes longer than a frame."""
        from gui.pages.compare.security_chart import SecurityChart

        chart = self._split.card.hold(SecurityChart())
        chart.clicked.connect(lambda run_id: self.picked.emit([run_id]))
        chart.pointed.connect(self._tell_values)
        return chart

    def show_rows(self, rows: Sequence[ResultRow]) -> None:
        self._rows = rows
        self._ask()

    def _ask(self) -> None:
        rows, samples = self._rows, self._samples
        self.ask(lambda store: read_panels(store, rows, samples), self._take)

    def _take(self, panels: list[NamedPanel] | None) -> None:
        if panels is None:  # there is more to read, after what others wait for
            self._ask()
            return
        self._panels = panels
        norms = [panel.norm for panel, _ in panels]
        self.norm_box.blockSignals(True)
        self.norm_box.clear()
        self.norm_box.addItems(norms)
        if self._norm in norms:
            self.norm_box.setCurrentIndex(norms.index(self._norm))
        self.norm_box.blockSignals(False)
        self.controls.setEnabled(len(norms) > 1)
        self.stack.setCurrentIndex(0 if norms else 1)
        self._list()

    def _norm_chosen(self) -> None:
        self._norm = self.norm_box.currentText()
        self._list()

    def panel(self) -> Panel | None:
        """What is shown."""
        current = self.norm_box.currentIndex()
        return self._panels[current][0] if 0 <= current < len(self._panels) else None

    def _list(self) -> None:
        current = self.norm_box.currentIndex()
        self.series.show_series(self._panels[current][1] if current >= 0 else [])
        self._draw()

    def _draw(self) -> None:
        panel = self.panel()
        self._find_runs()
        if panel is None:
            if "chart" in vars(self):
                self.chart.show_panel(None, (), ())
            self.told.emit()
            return
        ticked = {series.number: series for series in self.series.ticked()}
        words = {point.run_id: point for series in ticked.values() for point in series.points}
        points = [
            (number, check, words[check.row["run_id"]])
            for number, check in panel.checks
            if number in ticked
        ]
        shown = [(number, line) for number, line in enumerate(panel.lines) if number in ticked]
        self.chart.show_panel(panel, shown, points)
        marks = {attack_name(check.row): self.chart.marker(check) for _, check, _ in points}
        self.note.tell(*note_of([line for _, line in shown], list(marks.items())))
        self.values.tell("")
        self.told.emit()

    def _tell_values(self, eps: float) -> None:
        self.values.tell(values_at(self.drawn(), eps) if eps >= 0 else "")

    def drawn(self) -> list[SecurityLine]:
        """The curves that are ticked."""
        panel = self.panel()
        ticked = {series.number for series in self.series.ticked()}
        lines = enumerate(panel.lines) if panel else ()
        return [line for number, line in lines if number in ticked]

    def choose(self, run_ids: Iterable[int]) -> None:
        if "chart" in vars(self):
            self.chart.choose(run_ids)

    def drawn_runs(self) -> list[int]:
        return self._run_ids

    def _find_runs(self) -> None:
        lines = self.drawn()
        runs = [line.row["run_id"] for line in lines]
        runs += [check.row["run_id"] for line in lines for check in line.checks]
        self._run_ids = list(dict.fromkeys(runs))

    def save(self, path: Path) -> None:
        save_picture(self.chart, self.series.entries(), path)

    def write_csv(self, path: Path) -> None:
        write_security_csv(path, self.drawn())

    def restore(self, settings: QSettings) -> None:
        self._norm = str(settings.value("compare/norm") or "")

    def save_state(self, settings: QSettings) -> None:
        settings.setValue("compare/norm", self._norm)
