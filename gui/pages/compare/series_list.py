"""The legend of a chart as a list: which series are drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QWidget

from engine.report.naming import BASE
from engine.report.series import Series
from gui.base import theme
from gui.base.words import run_count

_METHOD = Qt.ItemDataRole.UserRole
_BASE_WORDS = "uncompressed"


class _Entry(NamedTuple):
    """A line of the list.

    Attributes:
        method: that its marker stands for; empty for a series.
        sign: the number of the style of a series, or a marker.
        marked: whether the line of a series carries a marker.
    """

    method: str
    text: str
    tip: str
    sign: int | str
    marked: bool = False


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
        self._listed: list[_Entry] = []
        self._ticked: list[Series] | None = None
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
        self._ticked = None
        entries = list(self._entries())
        if entries != self._listed:
            self._listed = entries
            self._fill()

    def ticked(self) -> list[Series]:
        """The series to draw, with the points of the methods to draw."""
        if self._ticked is None:
            self._ticked = self._choose_ticked()
        return self._ticked

    def _choose_ticked(self) -> list[Series]:
        hidden = self._hidden_methods & self._methods.keys()
        shown = (series for series in self._series if series.name not in self._hidden)
        left = [(series, _without(series, hidden) if hidden else series) for series in shown]
        # A security curve without a check has no points, and is drawn all the same.
        return [narrowed for whole, narrowed in left if narrowed.points or not whole.points]

    def entries(self) -> list[tuple[QIcon, str]]:
        """What is ticked, with its sign, for the legend of a picture."""
        items = [self.item(row) for row in range(self.count())]
        ticked = [item for item in items if item.checkState() == Qt.CheckState.Checked]
        return [(item.icon(), item.text()) for item in ticked]

    def _entries(self) -> Iterator[_Entry]:
        marked = self._markers and not self._methods
        for series in self._series:
            tip = f"{series.name}: {run_count(len(series.points))}"
            yield _Entry("", series.name, tip, series.number, marked)
        counts = Counter[str]()
        for series in self._series if self._methods else ():
            names, places = series.methods
            counts.update(dict(zip(names, np.bincount(places).tolist(), strict=True)))
        for name, symbol in self._methods.items():
            text = name if name != BASE else _BASE_WORDS
            yield _Entry(name, text, f"{text}: {run_count(counts[name])}", symbol)

    def _fill(self) -> None:
        from gui.pages.compare.markers import marker_icon, series_icon  # and pyqtgraph with them

        self.blockSignals(True)
        row = self.currentRow()
        self.clear()
        for entry in self._listed:
            if isinstance(entry.sign, int):
                icon, hidden = series_icon(entry.sign, marker=entry.marked), self._hidden
            else:
                icon, hidden = marker_icon(entry.sign), self._hidden_methods
            item = QListWidgetItem(icon, entry.text)
            item.setData(_METHOD, entry.method)
            item.setToolTip(entry.tip)
            self._add(item, hidden=(entry.method or entry.text) in hidden)
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
        self._ticked = None
        self.changed.emit()
