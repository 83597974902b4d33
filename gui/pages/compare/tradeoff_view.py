"""Robust or clean accuracy against what compression saved, or against eps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QComboBox, QVBoxLayout, QWidget

from engine.report.series import X_AXES, Y_AXES, Axis, Series, methods_of, series_of
from engine.store import ResultRow
from gui.base import theme
from gui.base.words import run_count
from gui.bridge.results_thread import ResultsThread
from gui.pages.compare.chart_view import ChartSplit, ChartView
from gui.pages.compare.cloud import numbers_of
from gui.pages.compare.picture import save_picture
from gui.pages.compare.series_list import SeriesList
from gui.pages.compare.tradeoff_csv import write_csv
from gui.widgets.note_line import NoteLine

if TYPE_CHECKING:  # pyqtgraph takes long to import, and comes with the first chart
    from gui.pages.compare.compare_chart import CompareChart


_FOUND_FIRST = ("numbers", "methods", "line_numbers", "run_ids", "spreads")
"""Of a series: found by the thread that reads, not where it is drawn."""


@dataclass(frozen=True)
class Tradeoff:
    """Runs along two axes: their series, and the methods that markers tell apart."""

    x: Axis
    y: Axis
    series: Sequence[Series]
    methods: Sequence[str]


def tradeoff_of(rows: Sequence[ResultRow], x: Axis, y: Axis) -> Tradeoff:
    """Everything that takes time with many runs."""
    series = series_of(rows, x, y)
    for one in series:
        for name in _FOUND_FIRST:
            getattr(one, name)
    return Tradeoff(x, y, series, methods_of(series, x))


class TradeoffView(ChartView):
    """Every run is a point of its series; the axes are for the person to choose."""

    id = "tradeoff"
    title = "Trade-off"
    kind = "pareto"
    figure = "trade-off"

    def __init__(self, results: ResultsThread, charts: QWidget, controls: QWidget) -> None:
        super().__init__(results, charts, controls)
        self._rows: Sequence[ResultRow] = ()
        self._drawn = Tradeoff(X_AXES[0], Y_AXES[0], [], ())
        self._markers: dict[str, str] = {}
        self._run_ids: list[int] = []
        self.x_box = _axis_box("X axis", X_AXES, self.controls)
        self.y_box = _axis_box("Y axis", Y_AXES, self.controls)
        self._split = ChartSplit(self)
        self.series = SeriesList(self._split.side)
        self.note = NoteLine("Note on the chart", self._split.side)
        self._split.stack(self.series, self.note)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._split)
        self.add_control("&x", self.x_box)
        self.add_control("&y", self.y_box)
        for box in (self.x_box, self.y_box):
            box.currentIndexChanged.connect(self._ask)
        self.series.changed.connect(self._draw_ticked)

    @cached_property
    def chart(self) -> CompareChart:
        """Made with the first runs, when the page is in sight: it takes longer than a frame."""
        from gui.pages.compare.compare_chart import CompareChart

        chart = self._split.card.hold(CompareChart())
        chart.clicked.connect(lambda run_id: self.picked.emit([run_id]))
        return chart

    def show_rows(self, rows: Sequence[ResultRow]) -> None:
        self._rows = rows
        self._ask()

    def _ask(self, *_: object) -> None:
        rows, (x, y) = self._rows, self._axes()
        self.ask(lambda _: tradeoff_of(rows, x, y), self._draw)

    def _draw(self, drawn: Tradeoff) -> None:
        self._drawn = drawn
        self._markers = theme.method_markers(drawn.methods)
        self.series.show_series(drawn.series, self._markers)
        self._draw_ticked()

    def _draw_ticked(self) -> None:
        ticked = self.series.ticked()
        self._run_ids = list(chain.from_iterable(series.run_ids for series in ticked))
        if ticked or "chart" in vars(self):
            self.chart.show_series(ticked, self._drawn.x, self._drawn.y, self._markers)
        flagged = int(numbers_of(ticked)[4].sum())
        text = "Bars are 95 % Wilson intervals."
        if any(one.repeat_places for one in ticked):
            text += " Points of several seeds: a dash at their mean, a bar of ± 1 SD."
        if flagged:
            text += f" Hollow: flagged ({run_count(flagged)}), not evidence of robustness."
        self.note.tell(text, "warning" if flagged else "muted")
        self.told.emit()

    def _axes(self) -> tuple[Axis, Axis]:
        return self.x_box.currentData(), self.y_box.currentData()

    def figure_words(self) -> str:
        return f"{self._drawn.y.name}, {self._drawn.x.title}"

    def figure_axes(self) -> tuple[str, ...]:
        return ("--x", self._drawn.x.id, "--y", self._drawn.y.id)

    def choose(self, run_ids: Iterable[int]) -> None:
        if "chart" in vars(self):
            self.chart.choose(run_ids)

    def drawn_runs(self) -> list[int]:
        return self._run_ids

    def save(self, path: Path) -> None:
        save_picture(self.chart, self.series.entries(), path)

    def write_csv(self, path: Path) -> None:
        write_csv(path, self.series.ticked(), self._drawn.x, self._drawn.y)

    def restore(self, settings: QSettings) -> None:
        for name, box in (("x", self.x_box), ("y", self.y_box)):
            current = [axis.id for axis in _axes_of(box)].index(
                str(settings.value(f"compare/{name}") or box.itemData(0).id)
            )
            box.setCurrentIndex(current)

    def save_state(self, settings: QSettings) -> None:
        settings.setValue("compare/x", self.x_box.currentData().id)
        settings.setValue("compare/y", self.y_box.currentData().id)


def _axis_box(name: str, axes: tuple[Axis, ...], parent: QWidget) -> QComboBox:
    box = QComboBox(parent)
    box.setAccessibleName(name)
    for axis in axes:
        box.addItem(axis.title, axis)
    return box


def _axes_of(box: QComboBox) -> list[Axis]:
    return [box.itemData(line) for line in range(box.count())]
