"""The legend of a chart as a list: which series are drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QWidget

from engine.report.naming import BASE
from engine.report.series import Series
from gui.base import theme
from gui.base.words import run_count

_METHOD = Qt.ItemDataRole.UserRole
_BASE_WORDS = "uncompressed"


def _without(series: Series, methods: Collection[str]) -> Series:
    left = tuple(point for point in series.points if point.method not in methods)
    return series if len(left) == len(series.points) else replace(series, points=left)


class SeriesList(QListWidget):
    """One tick per series, and per method if markers tell them apart.

    What is unticked stays so while it exists.

    Args:
        markers: the series have markers of their own.

    Signals:
        changed: another set of series is ticked.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None, *, markers: bool = True) -> None:
        super().__init__(parent)
        self._markers = markers
        self._hidden: set[str] = set()
        self._hidden_methods: set[str] = set()
        self._methods: dict[str, str] = {}
        self._series: tuple[Series, ...] = ()
        self.setAccessibleName("Series")
        self.setProperty("card", True)
        self.setIconSize(QSize(40, 16))
        self.setSpacing(2)
        self.setWordWrap(True)
        self.itemChanged.connect(self._on_change)
        theme.current().changed.connect(self._fill)

    def show_series(
        self, series: Sequence[Series], methods: Mapping[str, str] | None = None
    ) -> None:
        """List these, and below them the markers of methods, if they have any."""
        self._series, self._methods = tuple(series), dict(methods or {})
        self._fill()

    def ticked(self) -> list[Series]:
        """The series to draw, with the points of the methods to draw."""
        hidden = self._hidden_methods & self._methods.keys()
        shown = (series for series in self._series if series.name not in self._hidden)
        left = [
            (
                series,
                _without(series, hidden),
            )
            for series in shown
        ]
        # A security curve without a check has no points, and is drawn all the same.
        return [narrowed for whole, narrowed in left if narrowed.points or not whole.points]

    def entries(self) -> list[tuple[QIcon, str]]:
        """What is ticked, with its sign, for the legend of a picture."""
        items = [self.item(row) for row in range(self.count())]
        ticked = [item for item in items if item.checkState() == Qt.CheckState.Checked]
        return [(item.icon(), item.text()) for item in ticked]

    def _fill(self) -> None:
        from gui.pages.compare.markers import marker_icon, series_icon  # and pyqtgraph with them

        self.blockSignals(True)
        row = self.currentRow()
        self.clear()
        for series in self._series:
            marker = self._markers and not self._methods
            item = QListWidgetItem(series_icon(series.number, marker=marker), series.name)
            item.setToolTip(f"{series.name}: {run_count(len(series.points))}")
            self._add(item, hidden=series.name in self._hidden)
        for name, symbol in self._methods.items():
            item = QListWidgetItem(marker_icon(symbol), name if name != BASE else _BASE_WORDS)
            item.setData(_METHOD, name)
            points = sum(point.method == name for series in self._series for point in series.points)
            item.setToolTip(f"{item.text()}: {run_count(points)}")
            self._add(item, hidden=name in self._hidden_methods)
        self.setCurrentRow(row)
        self.blockSignals(False)

    def _add(self, item: QListWidgetItem, *, hidden: bool) -> None:
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        item.setCheckState(Qt.CheckState.Unchecked if hidden else Qt.CheckState.Checked)
        self.addItem(item)

    def _on_change(self, item: QListWidgetItem) -> None:
        method = item.data(_METHOD)
        name, hidden = (method, self._hidden_methods) if method else (item.text(), self._hidden)
        if item.checkState() == Qt.CheckState.Checked:
            hidden.discard(name)
        else:
            hidden.add(name)
        self.changed.emit()
