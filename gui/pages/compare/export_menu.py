"""Taking a chart elsewhere: as a figure for print, as it is seen, or as a table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QMenu, QWidget

from gui.base import file_dialogs
from gui.bridge.engine_process import FileProcess
from gui.bridge.picture_process import chart_arguments
from gui.pages.compare.chart_view import ChartView
from gui.widgets.message_bar import Message

_FIGURES = {".svg": "SVG", ".pdf": "PDF", ".png": "PNG"}


class ExportMenu(QMenu):
    """What the chart in sight can be written as.

    Args:
        database: where its runs are.
        view: gives the chart in sight.

    Signals:
        notify: a ``Message`` of what was written, or why it was not.
    """

    notify = Signal(object)

    def __init__(self, database: Path, view: Callable[[], ChartView], parent: QWidget) -> None:
        super().__init__(parent)
        self._database, self._view = database, view
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
        arguments = chart_arguments(self._database, kind, view.drawn_runs(), path, axes)
        process = FileProcess(arguments, path, self)
        process.written.connect(self._written)
        process.refused.connect(self._refused)
        process.start()
        self.notify.emit(Message(f"Drawing {path}..."))

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
        try:
            if suffix == ".csv":
                view.write_csv(path)
            else:
                view.save(path)
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
