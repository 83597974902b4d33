"""Robust accuracy against eps: curves with bands, and the points that check them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PySide6.QtCore import QEvent, QPointF, Signal
from PySide6.QtGui import QColor, QPen

from engine.report.identity import attack_name
from engine.report.naming import is_flagged
from engine.report.security import CheckedRun, Panel, SecurityLine
from engine.report.series import Point
from gui.base import theme
from gui.widgets.plots import Band, Plot, faint, line_pen, pg

_SIZE, _CHOSEN_SIZE, _RING_SIZE = 10, 15, 21
_REACH = 12
"""Pixels beside a curve that still count as on it."""


class SecurityChart(Plot):
    """One panel; colour and dash tell the curve, the marker of a point its attack.

    Signals:
        clicked: the run id of the curve or point that was clicked.
        pointed: the eps under the pointer; -1 where there is none.
    """

    clicked = Signal(int)
    pointed = Signal(float)

    def __init__(self) -> None:
        super().__init__("eps", "robust accuracy (%)", "Security curves")
        self.percent_axis()
        self._panel: Panel | None = None
        self._shown: tuple[tuple[int, SecurityLine], ...] = ()
        self._points: tuple[tuple[int, CheckedRun, Point], ...] = ()
        self._chosen: set[int] = set()
        self.curves: list[pg.PlotDataItem] = []
        self.scatter: pg.ScatterPlotItem | None = None
        self.rings: pg.ScatterPlotItem | None = None
        self.scene().sigMouseMoved.connect(self._on_move)
        theme.current().changed.connect(self._paint)

    def show_panel(
        self,
        panel: Panel | None,
        shown: Sequence[tuple[int, SecurityLine]],
        points: Sequence[tuple[int, CheckedRun, Point]],
    ) -> None:
        """Replace what is drawn: of a panel these curves and points, by number of series."""
        before = self._panel
        self._panel, self._shown, self._points = panel, tuple(shown), tuple(points)
        self.name_axes(f"eps ({panel.norm})" if panel else "eps", "robust accuracy (%)")
        self._paint()
        if panel and (before is None or before.norm != panel.norm):
            self.show_all()

    def choose(self, run_ids: Iterable[int]) -> None:
        """Make these curves and points stand out."""
        # In place: this is called by a click on an item, which must outlive its own event.
        self._chosen = set(run_ids)
        for item, (number, line) in zip(self.curves, self._shown, strict=True):
            item.setPen(self._pen(number, line))
        if self.scatter is not None:
            self.scatter.setData([self._spot(*checked) for checked in self._points])

    def _paint(self) -> None:
        self.plotItem.clear()
        self.curves, self.scatter, self.rings = [], None, None
        for number, line in self._shown:
            self._paint_line(number, line)
        if self._points:
            self._paint_points()

    def _paint_line(self, number: int, line: SecurityLine) -> None:
        style, curve = theme.series(number), line.curve
        band = Band(self)
        band.set_data(curve.eps, curve.ci_low, curve.ci_high)
        band.set_colour(style.colour)
        item = pg.PlotDataItem(curve.eps, curve.robust_accuracy, pen=self._pen(number, line))
        item.setCurveClickable(True, _REACH)
        item.sigClicked.connect(lambda *_: self.clicked.emit(line.row["run_id"]))
        self.addItem(item)
        self.curves.append(item)
        if line.flagged:
            self._paint_hollow(style, line)

    def _pen(self, number: int, line: SecurityLine) -> QPen:
        style = theme.series(number)
        chosen = line.row["run_id"] in self._chosen
        return line_pen(style.colour, 3 if chosen else 1.4, style.dash)

    def _paint_hollow(self, style: theme.SeriesStyle, line: SecurityLine) -> None:
        """Flagged curves carry hollow markers."""
        some = np.linspace(0, len(line.curve.eps) - 1, 9).astype(int)[1:-1]
        paper = QColor(theme.plot_colours().background)
        hollow = pg.ScatterPlotItem(
            line.curve.eps[some],
            line.curve.robust_accuracy[some],
            symbol="o",
            size=_SIZE - 2,
            pen=line_pen(style.colour, 1.4),
            brush=paper,
        )
        self.addItem(hollow)

    def _paint_points(self) -> None:
        for number, _, point in self._points:
            bar = pg.ErrorBarItem(
                x=np.array([point.x]),
                y=np.array([point.y]),
                top=np.array([point.high - point.y]),
                bottom=np.array([point.y - point.low]),
                beam=0,
                pen=line_pen(faint(theme.series(number).colour, 150)),
            )
            self.addItem(bar)
        ink = theme.plot_colours().foreground
        doubted = [point for _, check, point in self._points if check.too_optimistic]
        self.rings = pg.ScatterPlotItem(
            [point.x for point in doubted],
            [point.y for point in doubted],
            size=_RING_SIZE,
            symbol="o",
            pen=line_pen(ink, 1.4),
            brush=pg.mkBrush(None),
        )
        self.addItem(self.rings)
        self.scatter = pg.ScatterPlotItem(hoverable=True, hoverSize=_CHOSEN_SIZE, tip=_tip)
        self.scatter.addPoints([self._spot(*checked) for checked in self._points])
        self.scatter.sigClicked.connect(self._on_click)
        self.addItem(self.scatter)

    def _spot(self, number: int, check: CheckedRun, point: Point) -> dict[str, Any]:
        colours, style = theme.plot_colours(), theme.series(number)
        chosen = point.run_id in self._chosen
        return {
            "pos": (point.x, point.y),
            "size": _CHOSEN_SIZE if chosen else _SIZE,
            "symbol": self.marker(check),
            "pen": line_pen(colours.foreground if chosen else style.colour, 2 if chosen else 1.5),
            "brush": QColor(colours.background if is_flagged(check.row) else style.colour),
            "data": point,
        }

    def marker(self, check: CheckedRun) -> str:
        """The marker of the attack of a point, as pyqtgraph names it."""
        assert self._panel is not None
        return theme.series(self._panel.attacks.index(attack_name(check.row))).symbol

    def _on_click(self, _item: object, spots: Sequence[Any], _event: object = None) -> None:
        if len(spots):
            self.clicked.emit(spots[0].data().run_id)

    def _on_move(self, position: QPointF) -> None:
        box = self.plotItem.getViewBox()
        eps = box.mapSceneToView(position).x()
        inside = box.sceneBoundingRect().contains(position) and self._shown and eps >= 0
        self.pointed.emit(eps if inside else -1.0)

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self.pointed.emit(-1.0)


def _tip(x: float, y: float, data: Point) -> str:
    return data.words
