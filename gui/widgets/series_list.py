"""The legend of a chart as a list: which series are drawn."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QWidget

from gui import theme
from gui.chart_data import Series
from gui.widgets.compare_chart import series_icon


class SeriesList(QListWidget):
    """One tick per series; what is unticked stays so while the series exists.

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
        self._series: tuple[Series, ...] = ()
        self.setAccessibleName("Series")
        self.setProperty("card", True)
        self.setIconSize(QSize(40, 16))
        self.setSpacing(2)
        self.setWordWrap(True)
        self.itemChanged.connect(self._on_change)
        theme.current().changed.connect(self._fill)

    def show_series(self, series: Sequence[Series]) -> None:
        """List these."""
        self._series = tuple(series)
        self._fill()

    def ticked(self) -> list[Series]:
        """The series to draw."""
        return [one for one in self._series if one.name not in self._hidden]

    def _fill(self) -> None:
        self.blockSignals(True)
        row = self.currentRow()
        self.clear()
        for one in self._series:
            item = QListWidgetItem(series_icon(one.number, marker=self._markers), one.name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            hidden = one.name in self._hidden
            item.setCheckState(Qt.CheckState.Unchecked if hidden else Qt.CheckState.Checked)
            item.setToolTip(f"{one.name}: {len(one.points)} runs")
            self.addItem(item)
        self.setCurrentRow(row)
        self.blockSignals(False)

    def _on_change(self, item: QListWidgetItem) -> None:
        if item.checkState() == Qt.CheckState.Checked:
            self._hidden.discard(item.text())
        else:
            self._hidden.add(item.text())
        self.changed.emit()
