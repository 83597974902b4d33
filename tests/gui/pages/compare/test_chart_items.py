"""Charts of many runs: a few items whatever the number of series, and clicks that still hit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QFrame
from pytestqt.qtbot import QtBot

from engine.report.security import Panel, SecurityLine
from engine.report.series import X_AXES, Y_AXES, Point, Series
from engine.statistics.security_curves import security_curve
from gui.base import theme
from gui.pages.compare.compare_chart import CompareChart
from gui.pages.compare.security_chart import MOST_BANDS, SecurityChart
from gui.widgets.card import Card
from gui.widgets.plots import Plot

STYLES = 35
"""Seven colours by five dashes."""


def series_of(number: int, runs: int = 4) -> list[Series]:
    """So many series; every third run is flagged."""
    return [
        Series(
            n, f"series {n}", tuple(_point(n * runs + i, 1 + i, n / number) for i in range(runs))
        )
        for n in range(number)
    ]


def _point(run_id: int, x: float, y: float) -> Point:
    flagged = run_id % 3 == 0
    names = {"model": "m", "compression": "c", "attack": "pgd", "flags": []}
    shares = {"robust_accuracy": y, "ci_low": 0, "ci_high": 1, "clean_accuracy": 1}
    row: Any = {"run_id": run_id, **names, **shares}
    return Point(run_id, x, y, max(y - 0.1, 0), min(y + 0.1, 1), flagged, row, "a", "magnitude")


def _show_card(qtbot: QtBot, chart: Plot) -> QFrame:
    frame = Card()
    frame.hold(chart)
    qtbot.addWidget(frame)
    frame.resize(780, 400)
    with qtbot.waitExposed(frame):
        frame.show()
    return frame


@pytest.fixture
def chart(qtbot: QtBot) -> Iterator[CompareChart]:
    made = CompareChart()
    frame = _show_card(qtbot, made)
    yield made
    frame.hide()


def show(chart: CompareChart, series: Sequence[Series]) -> None:
    chart.show_series(series, X_AXES[0], Y_AXES[0], {"magnitude": "s"})
    chart.grab()  # the view is fitted before it is painted


def test_three_hundred_series_are_as_many_items_as_there_are_styles(chart: CompareChart) -> None:
    show(chart, series_of(300))
    assert len(chart.spots.points()) == 1200
    assert len(chart.lines.items) == STYLES
    assert len(chart.bars.items) == 7
    items = len(chart.plotItem.items)
    show(chart, series_of(600))
    assert len(chart.plotItem.items) == items <= STYLES + 7 + 2


def test_repeats_have_one_bar_of_their_spread(chart: CompareChart) -> None:
    points = tuple(
        replace(_point(number, 2.0, y), repeat="same") for number, y in enumerate((0.4, 0.6), 1)
    )
    show(chart, [Series(0, "s", points)])
    (bar,) = chart.spreads.bars.items.values()
    off = np.std([0.4, 0.6], ddof=1)
    assert bar.getData()[1] == pytest.approx([0.5 - off, 0.5 + off])
    assert sorted(chart.spreads.dashes.getData()[1]) == pytest.approx([0.5 - off, 0.5, 0.5 + off])
    (intervals,) = chart.bars.items.values()
    assert np.ptp(intervals.getData()[1].reshape(-1, 2), axis=1).tolist() == [0, 0]
    show(chart, [Series(0, "s", points[:1])])
    assert not chart.spreads.bars.items
    assert not len(chart.spreads.dashes.data)


def test_a_point_that_is_flagged_or_moves_is_drawn_so(chart: CompareChart) -> None:
    """The chart keeps the looks of points only while all of them look as before."""
    show(chart, series_of(2))
    (first, *others), other = series_of(2)[0].points, series_of(2)[1]
    assert first.flagged
    changed = replace(first, flagged=False, x=7.0, y=0.25)
    show(chart, [Series(0, "series 0", (*others, changed)), other])
    spots = {spot.data().run_id: spot for spot in chart.spots.points()}
    paper = QColor(theme.plot_colours().background)
    hollow = {run_id for run_id, spot in spots.items() if spot.brush().color() == paper}
    assert hollow == {3, 6}
    assert (spots[0].pos().x(), spots[0].pos().y()) == (7.0, 0.25)
    chart.spots.data["hovered"][1] = True
    show(chart, [Series(0, "series 0", (*others, replace(changed, x=8.0))), other])
    assert not chart.spots.data["hovered"].any(), "what was pointed at may lie elsewhere"


def test_every_point_has_its_bar_and_its_place_in_a_line(chart: CompareChart) -> None:
    series = series_of(40)
    show(chart, series)
    points = [point for one in series for point in one.points]
    bars = [item.getData() for item in chart.bars.items.values()]
    drawn = {(x[i], y[i], y[i + 1]) for x, y in bars for i in range(0, len(x), 2)}
    assert drawn == {(point.x, point.low, point.high) for point in points}
    for one in series:
        style = theme.series(one.number)
        item = chart.lines.items[style.colour, style.dash]
        x, y = item.getData()
        joined = {(x[i], y[i], x[i + 1], y[i + 1]) for i in np.flatnonzero(item.opts["connect"])}
        mine = list(zip(one.points, one.points[1:], strict=False))
        assert {(a.x, a.y, b.x, b.y) for a, b in mine} <= joined
    pieces = sum(int(item.opts["connect"].sum()) for item in chart.lines.items.values())
    assert pieces == sum(len(one.points) - 1 for one in series), "no line leads to another series"


def test_choosing_a_run_moves_its_highlight_and_nothing_else(
    chart: CompareChart, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(chart, series_of(40))
    before = chart.spots.data
    filled: list[object] = []
    for item in (*chart.lines.items.values(), *chart.bars.items.values()):
        monkeypatch.setattr(item, "setData", lambda *a, **k: filled.append(a))
    chart.choose([6, 7])
    assert [spot.data().run_id for spot in chart.chosen.points()] == [6, 7]
    assert chart.spots.data is before
    assert filled == []
    chart.choose([])
    assert len(chart.chosen.points()) == 0


def test_unticking_a_series_leaves_the_lines_of_other_styles_alone(
    chart: CompareChart, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = series_of(40)
    show(chart, series)
    touched: list[object] = []
    for stroke, item in chart.lines.items.items():
        given = item.setData
        monkeypatch.setattr(
            item, "setData", lambda *a, s=stroke, g=given, **k: touched.append(s) or g(*a, **k)
        )
    show(chart, series[:3] + series[4:])
    style = theme.series(3)
    assert touched == [(style.colour, style.dash)]


def test_the_uppermost_of_many_points_is_clicked_also_where_one_is_chosen(
    chart: CompareChart, qtbot: QtBot
) -> None:
    show(chart, series_of(100))
    clicked: list[int] = []
    chart.clicked.connect(clicked.append)
    spots = chart.spots.points()
    for place in (0, 177, 399):
        chart.choose([spots[place].data().run_id])
        where = chart.mapFromScene(chart.spots.mapToScene(spots[place].pos()))
        QTest.mouseClick(chart.viewport(), Qt.MouseButton.LeftButton, pos=where)
        at = chart.spots.mapFromScene(chart.mapToScene(where))
        there = chart.spots.pointsAt(at)
        assert len(there) > 1
        assert clicked[-1] == there[0].data().run_id
        told = chart.plotItem.getViewBox().toolTip().split("\n\n")
        assert told[0].startswith(f"Run {clicked[-1]}: ")
        assert len(told) == min(len(there), 4), "three of them, and how many more"
    assert len(clicked) == 3


def panel_of(number: int) -> Panel:
    """So many curves, one below the other."""
    grid = np.linspace(0, 2, 401)
    lines = []
    for n in range(number):
        found = np.linspace(0.2, 1 + n / number, 50)
        row: Any = {"run_id": n, "flags": [], "eps": None}
        lines.append(SecurityLine(row, f"curve {n}", security_curve(found, grid), found, ()))
    return Panel("L2", tuple(lines))


@pytest.fixture
def curves(qtbot: QtBot) -> Iterator[SecurityChart]:
    made = SecurityChart()
    frame = _show_card(qtbot, made)
    yield made
    frame.hide()


def test_two_hundred_curves_are_few_items_without_bands(curves: SecurityChart) -> None:
    panel = panel_of(200)
    shown = list(enumerate(panel.lines))
    curves.show_panel(panel, shown, ())
    assert curves.bands == []
    assert len(curves.plotItem.items) <= STYLES + 4
    curves.show_panel(panel, shown[:MOST_BANDS], ())
    assert len(curves.bands) == MOST_BANDS
    curves.show_panel(panel, shown[: MOST_BANDS + 1], ())
    assert curves.bands == []


@pytest.mark.parametrize("number", [0, 9, 19])
def test_the_curve_next_to_a_click_is_chosen(curves: SecurityChart, number: int) -> None:
    panel = panel_of(20)
    curves.show_panel(panel, list(enumerate(panel.lines)), ())
    curves.grab()
    clicked: list[int] = []
    curves.clicked.connect(clicked.append)
    curve = panel.lines[number].curve
    # In the middle of a drop, where the other curves are furthest away.
    place = int(np.argmin(np.abs(curve.robust_accuracy - 0.3)))
    box = curves.plotItem.getViewBox()
    at = QPointF(curve.eps[place], curve.robust_accuracy[place])
    QTest.mouseClick(
        curves.viewport(),
        Qt.MouseButton.LeftButton,
        pos=curves.mapFromScene(box.mapViewToScene(at)),
    )
    assert clicked == [number]
    assert curves.curve_at(box.mapViewToScene(QPointF(1.9, 0.9))) is None


def test_a_chosen_curve_is_drawn_again_and_thick(curves: SecurityChart) -> None:
    panel = panel_of(5)
    curves.show_panel(panel, list(enumerate(panel.lines)), ())
    curves.choose([3])
    ((stroke, item),) = curves.thick.items.items()
    style = theme.series(3)
    assert stroke == (style.colour, style.dash)
    assert item.opts["pen"].widthF() == 3
    curves.choose([])
    assert curves.thick.items == {}
