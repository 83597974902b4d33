"""Robust accuracy against eps: curves with bands, and the points that check them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PySide6.QtCore import QEvent, QPointF, Qt, Signal

from engine.report.identity import attack_name
from engine.report.security import CheckedRun, Panel, SecurityLine
from engine.report.series import Point
from gui.base import theme
from gui.pages.compare.cloud import Floats, cloud_of
from gui.pages.compare.layers import SIZE, Bars, Chosen, Line, Lines, Spots
from gui.widgets.plots import Band, Marks, Plot, line_pen, pg

_RING_SIZE = 21
_REACH = 6
"""Pixels beside a curve that still count as on it."""
MOST_BANDS = 12
"""More than that lie over each other to one grey."""
_FEW = 50

Shown = tuple[int, SecurityLine]
"""A curve with its number of series."""


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
        self._shown: tuple[Shown, ...] = ()
        self._points: tuple[tuple[int, CheckedRun, Point], ...] = ()
        self._chosen: frozenset[int] = frozenset()
        self.bands: list[Band] = []
        self.bars, self.lines, self.thick = Bars(self), Lines(self, 1, 1.4), Lines(self, 2, 3)
        self.hollow, self.rings = _Signs(self, 3, SIZE - 2), _Signs(self, 4, _RING_SIZE)
        self.spots, self.chosen = Spots(self, 5), Chosen(self, 6)
        self.spots.picked.connect(self.clicked)
        self.scene().sigMouseMoved.connect(self._on_move)
        self.scene().sigMouseClicked.connect(self._on_click)
        theme.current().changed.connect(self._paint)

    def show_panel(
        self,
        panel: Panel | None,
        shown: Sequence[Shown],
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
        self._chosen = frozenset(run_ids)
        chosen = [one for one in self._shown if one[1].row["run_id"] in self._chosen]
        self.thick.show(map(_line, chosen))
        if self.spots.cloud is not None:
            self.chosen.show(self.spots.cloud.only(self._chosen))

    def _paint(self) -> None:
        self._paint_bands()
        self.lines.show(map(_line, self._shown), smooth=len(self._shown) <= _FEW)
        self._paint_hollow()
        self._paint_points()
        self.choose(self._chosen)

    def _paint_bands(self) -> None:
        for band in self.bands:
            band.remove(self)
        few = len(self._shown) <= MOST_BANDS
        self.bands = [self._band(*one) for one in self._shown] if few else []

    def _band(self, number: int, line: SecurityLine) -> Band:
        band = Band(self)
        band.set_data(line.curve.eps, line.curve.ci_low, line.curve.ci_high)
        band.set_colour(theme.series(number).colour)
        return band

    def _paint_hollow(self) -> None:
        """Flagged curves carry hollow markers."""
        flagged = [(number, line.curve) for number, line in self._shown if line.flagged]
        some = [np.linspace(0, len(curve.eps) - 1, 9).astype(int)[1:-1] for _, curve in flagged]
        told = list(zip(flagged, some, strict=True))
        self.hollow.show(
            _joined([curve.eps[at] for (_, curve), at in told]),
            _joined([curve.robust_accuracy[at] for (_, curve), at in told]),
            [theme.series(number).colour for (number, _), at in told for _ in at],
            theme.plot_colours().background,
        )

    def _paint_points(self) -> None:
        points = [point for _, _, point in self._points]
        cloud = cloud_of(
            points,
            np.array([point.x for point in points], float),
            [theme.series(number).colour for number, _, _ in self._points],
            [self.marker(check) for _, check, _ in self._points],
        )
        self.bars.show(cloud)
        self.spots.show(cloud)
        doubted = [point for _, check, point in self._points if check.too_optimistic]
        self.rings.show(
            np.array([point.x for point in doubted]),
            np.array([point.y for point in doubted]),
            [theme.plot_colours().foreground] * len(doubted),
        )

    def marker(self, check: CheckedRun) -> str:
        """The marker of the attack of a point, as pyqtgraph names it."""
        assert self._panel is not None
        return theme.series(self._panel.attacks.index(attack_name(check.row))).symbol

    def curve_at(self, position: QPointF) -> SecurityLine | None:
        """The curve that is next to a position in the scene; None if none is near."""
        box = self.plotItem.getViewBox()
        if not box.sceneBoundingRect().contains(position):
            return None
        at = box.mapSceneToView(position)
        width, height = box.viewPixelSize()
        reaches = [(_distance(line, at, width, height), line) for _, line in self._shown]
        pixels, nearest = min(reaches, key=lambda one: one[0], default=(np.inf, None))
        return nearest if pixels <= _REACH else None

    def _on_click(self, event: Any) -> None:
        # A point that lies on a curve has taken its click already.
        if event.isAccepted() or event.button() != Qt.MouseButton.LeftButton:
            return
        line = self.curve_at(event.scenePos())
        if line is not None:
            event.accept()
            self.clicked.emit(line.row["run_id"])

    def _on_move(self, position: QPointF) -> None:
        box = self.plotItem.getViewBox()
        eps = box.mapSceneToView(position).x()
        inside = box.sceneBoundingRect().contains(position) and self._shown and eps >= 0
        self.pointed.emit(eps if inside else -1.0)

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self.pointed.emit(-1.0)


class _Signs(Marks):
    """Circles that nothing can be done with."""

    def __init__(self, plot: Plot, height: float, size: int) -> None:
        super().__init__(symbol="o", size=size)
        self._drawn: tuple[object, ...] = ()
        self.setZValue(height)
        plot.addItem(self)

    def show(self, x: Floats, y: Floats, colours: Sequence[str], fill: str | None = None) -> None:
        """Draw these in place of others; the same ones are left alone."""
        drawn = (x.tolist(), y.tolist(), colours, fill)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        pens = {colour: line_pen(colour, 1.4) for colour in colours}
        pen = [pens[colour] for colour in colours]
        self.setData(x=x, y=y, pen=pen, brush=pg.mkBrush(fill))


def _joined(parts: Sequence[Floats]) -> Floats:
    return np.concatenate(parts) if parts else np.array([])


def _line(shown: Shown) -> Line:
    number, line = shown
    style = theme.series(number)
    return Line((style.colour, style.dash), *line.outline)


def _distance(line: SecurityLine, at: QPointF, width: float, height: float) -> float:
    """Pixels from a place in the chart to a curve; inf beside its ends."""
    curve = line.curve
    near = np.abs(curve.eps - at.x()) <= 2 * _REACH * width
    if not near.any():
        return np.inf
    # The pieces of the curve around the place, and the next one at each side.
    first, last = (int(end) for end in np.flatnonzero(near)[[0, -1]])
    around = slice(max(first - 1, 0), last + 2)
    x = (curve.eps[around] - at.x()) / width
    y = (curve.robust_accuracy[around] - at.y()) / height
    along_x, along_y = np.diff(x), np.diff(y)
    share = -(x[:-1] * along_x + y[:-1] * along_y) / (along_x**2 + along_y**2)
    share = np.clip(share, 0, 1)
    return float(np.hypot(x[:-1] + share * along_x, y[:-1] + share * along_y).min())
