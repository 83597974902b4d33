"""One way to draw the compared runs: what the Compare page asks of each of its charts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

from PySide6.QtCore import QSettings, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSplitter, QVBoxLayout, QWidget

from engine.errors import CrumpleError
from engine.store import ResultRow, Store
from gui.bridge.results_thread import ResultsThread
from gui.widgets.card import Card

T = TypeVar("T")


class ChartView(QWidget):
    """A chart with what is needed beside it.

    What it shows is made on the thread of the results; ``told`` says when it is there, and what
    was asked for before something newer is never shown.

    Args:
        results: the thread that reads.
        charts: holds the view.
        controls: holds what stands above it in the page.

    Attributes:
        id: in the settings, and of the page.
        title: on its button.
        kind: of the figure for print (``crumple chart --kind``).
        figure: what that figure shows, in words.
        controls: what stands above it in the page.
        boxes: the fields there, from left to right.

    Signals:
        picked: the run ids of what was clicked.
        new_study: the button of an empty chart was pressed.
        told: other data or another choice is shown.
        refused: a ``CrumpleError``, in place of what was to be shown.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    kind: ClassVar[str]
    figure: ClassVar[str]

    picked = Signal(list)
    new_study = Signal()
    told = Signal()
    refused = Signal(object)

    def __init__(self, results: ResultsThread, charts: QWidget, controls: QWidget) -> None:
        super().__init__(charts)
        self._results = results
        self.waiting = False
        self.controls = QWidget(controls)
        self.boxes: list[QWidget] = []
        row = QHBoxLayout(self.controls)
        row.setContentsMargins(0, 0, 0, 0)
        row.addStretch()

    def add_control(self, text: str, widget: QWidget) -> None:
        """Put a control with its label above the chart."""
        label = QLabel(text, self.controls)
        label.setBuddy(widget)
        row = self.controls.layout()
        assert row is not None
        row.addWidget(label)
        row.addWidget(widget)
        self.boxes.append(widget)

    def show_rows(self, rows: Sequence[ResultRow]) -> None:
        """Draw these finished runs."""
        raise NotImplementedError

    def ask(self, job: Callable[[Store], T], show: Callable[[T], None]) -> None:
        """Do a job beside the window, and show what it gives unless something newer is asked."""

        def answer(result: T) -> None:
            self.waiting = False
            show(result)

        def refuse(error: CrumpleError) -> None:
            self.waiting = False
            self.refused.emit(error)

        self.waiting = True
        self._results.ask(self, "chart", job, answer, refuse)

    def choose(self, run_ids: Iterable[int]) -> None:
        """Make these runs stand out."""

    def figure_words(self) -> str:
        """What the figure for print shows."""
        return self.figure

    def figure_axes(self) -> tuple[str, ...]:
        """The options of ``crumple chart`` that give the figure the axes of this chart."""
        return ()

    def drawn_runs(self) -> list[int]:
        """The runs that are drawn."""
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Write the chart as it is seen: PNG or SVG, by the suffix."""
        raise NotImplementedError

    def write_csv(self, path: Path) -> None:
        """Write what is drawn as a table."""
        raise NotImplementedError

    def restore(self, settings: QSettings) -> None:
        """Take over what ``save_state`` wrote."""

    def save_state(self, settings: QSettings) -> None:
        """Write what should survive a restart."""


class ChartSplit(QSplitter):
    """A chart with a column at its right.

    Attributes:
        card: for the chart.
        side: holds what is in the column.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.card, self.side = Card(self), QWidget(self)

    def stack(self, *side: QWidget) -> None:
        """Lay these into the column; the first one takes the room."""
        column = QVBoxLayout(self.side)
        column.setContentsMargins(0, 0, 0, 0)
        for number, widget in enumerate(side):
            column.addWidget(widget, 0 if number else 1)
        self.setStretchFactor(0, 1)
        self.setSizes([780, 312])
