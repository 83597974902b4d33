"""Taking a chart elsewhere: as a figure for print, as it is seen, or as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QMenu, QWidget

from engine.report.differences import Difference, differences_text
from gui.base import file_dialogs
from gui.bridge.engine_process import FileProcess
from gui.bridge.picture_process import chart_arguments, report_arguments
from gui.pages.compare.chart_view import ChartView
from gui.widgets.message_bar import Message

_FIGURES = {".svg": "SVG", ".pdf": "PDF", ".png": "PNG"}


class ExportMenu(QMenu):
    """What the chart in sight can be written as.

    Args:
        database: where its runs are.
        view: gives the chart in sight.
        study: gives the study that is chosen, None for all.
        differences: gives the paired differences that are shown.

    Signals:
        notify: a ``Message`` of what was written, or why it was not.
    """

    notify = Signal(object)

    def __init__(
        self,
        database: Path,
        view: Callable[[], ChartView],
        study: Callable[[], str | None],
        differences: Callable[[], Sequence[Difference]],
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._database, self._view, self._study = database, view, study
        self._differences = differences
        self.aboutToShow.connect(self._fill)

    def _fill(self) -> None:
        self.clear()
        self.addSection(f"Figure for a paper: {self._view().figure_words()}")
        for suffix, name in _FIGURES.items():
            self.addAction(f"Figure as {name}...", partial(self.write_figure, suffix))
        self.addSection("This chart")
        for suffix in (".png", ".svg"):
            action = partial(self.write_here, suffix)
            self.addAction(f"Picture as {suffix[1:].upper()}...", action)
        self.addAction("Data as CSV...", partial(self.write_here, ".csv"))
        tested = self.addAction("Differences as CSV...", self.write_differences)
        tested.setEnabled(bool(self._differences()))
        self.addSection("The whole study")
        report = self.addAction("Report as ZIP...", self.write_report)
        report.setEnabled(self._study() is not None)
        if not report.isEnabled():
            report.setText("Report as ZIP: choose one study first")

    def write_figure(self, suffix: str) -> None:
        """Have the chart drawn for print, in another process."""
        name, view = _FIGURES[suffix], self._view()
        kind = view.kind
        path = file_dialogs.ask_save(
            self.parentWidget(),
            f"Export the figure as {name}",
            f"{name} (*{suffix})",
            f"crumple-{kind}{suffix}",
        )
        if path is None:
            return
        axes = view.figure_axes()
        self._start(chart_arguments(self._database, kind, view.drawn_runs(), path, axes), path)
        self.notify.emit(Message(f"Drawing {path}..."))

    def write_report(self) -> None:
        """Have everything of the study written into one file, in another process."""
        study = self._study()
        if study is None:
            return
        path = file_dialogs.ask_save(
            self.parentWidget(), "Report the study", "ZIP (*.zip)", "crumple-report.zip"
        )
        if path is None:
            return
        # Without its ending the command would make a folder of that name.
        path = path if path.suffix.lower() == ".zip" else path.with_name(f"{path.name}.zip")
        self._start(report_arguments(self._database, study, path), path)
        self.notify.emit(Message(f"Writing the report {path}..."))

    def _start(self, arguments: list[str], path: Path) -> None:
        process = FileProcess(arguments, path, self)
        process.written.connect(self._written)
        process.refused.connect(self._refused)
        process.start()

    def write_here(self, suffix: str) -> None:
        """Write the chart as it is seen, or its data."""
        kind, view = suffix[1:].upper(), self._view()
        path = file_dialogs.ask_save(
            self.parentWidget(),
            f"Export as {kind}",
            f"{kind} (*{suffix})",
            f"crumple-{view.id}{suffix}",
        )
        if path is None:
            return
        self._write(path, view.write_csv if suffix == ".csv" else view.save)

    def write_differences(self) -> None:
        """Write the paired differences below the chart."""
        path = file_dialogs.ask_save(
            self.parentWidget(), "Export the differences", "CSV (*.csv)", "crumple-differences.csv"
        )
        if path is not None:
            text = differences_text(self._differences(), "csv")
            self._write(path, lambda path: path.write_text(text, "utf-8", newline=""))

    def _write(self, path: Path, write: Callable[[Path], object]) -> None:
        try:
            write(path)
        except OSError as error:
            self._refused(f"{path} cannot be written: {error.strerror}.")
        else:
            self._written(path)

    def _written(self, path: Path) -> None:
        self.notify.emit(Message(f"Written to {path}.", level="ok"))

    def _refused(self, reason: str) -> None:
        if not reason:  # stopped, since the window closes
            return
        hint = "Choose another folder or format."
        self.notify.emit(Message(f"The export failed: {reason}", hint, "error"))
