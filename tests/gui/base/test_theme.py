"""Colours that can be read, series that can be told apart, icons that are there."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from PySide6.QtCore import QObject, QSettings, QSize
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from engine.report.canvas import colour_of, dash_of, marker_of
from gui.base import theme
from tests.helpers.colours import ICONS, contrast

PAIRS = (
    ("text", "window", 7),
    ("text", "surface", 7),
    ("text", "accent_soft", 7),
    ("muted", "surface", 4.5),
    ("muted", "rail", 4.5),
    ("on_accent", "accent", 4.5),
    ("accent", "accent_soft", 4.5),
    ("danger", "surface", 4.5),
    ("text", "danger_soft", 7),
    ("warning", "surface", 4.5),
    ("ok", "window", 4.5),
    ("plot_foreground", "plot_background", 4.5),
    ("border_strong", "surface", 3),
)


@pytest.fixture(params=["light", "dark"])
def mode(request: pytest.FixtureRequest, qapp: QApplication, settings: QSettings) -> str:
    theme.install(qapp, settings, request.param)
    return str(request.param)


@pytest.mark.parametrize(("ink", "paper", "least"), PAIRS)
def test_text_can_be_read(mode: str, ink: str, paper: str, least: float) -> None:
    colours = theme.current().colours
    assert contrast(colours[ink], colours[paper]) >= least


def test_series_can_be_told_apart_without_colour(mode: str) -> None:
    paper = theme.plot_colours().background
    styles = [theme.series(index) for index in range(12)]
    for style, next_one in pairwise(styles):
        assert style.colour != next_one.colour
        assert style.symbol != next_one.symbol
        assert style.dash != next_one.dash
    assert len({(style.symbol, style.dash) for style in styles}) == len(styles)
    assert all(contrast(style.colour, paper) >= 2 for style in styles)


@pytest.mark.parametrize("name", ICONS)
def test_icon_is_drawn_in_the_colour_of_the_theme(mode: str, name: str) -> None:
    image = theme.icon(name, "accent").pixmap(QSize(48, 48)).toImage()
    inked = [
        image.pixelColor(x, y)
        for x in range(image.width())
        for y in range(image.height())
        if image.pixelColor(x, y).alpha() == 255
    ]
    assert len(inked) > 20
    assert inked[0].name() == theme.colour("accent").name()


def test_choice_is_remembered_and_told(qapp: QApplication, settings: QSettings) -> None:
    class Listener(QObject):
        def __init__(self) -> None:
            super().__init__()
            self.windows: list[str] = []

        def note(self) -> None:
            self.windows.append(qapp.palette().window().color().name())

    theme.install(qapp, settings, "light")
    listener = Listener()
    theme.current().changed.connect(listener.note)
    theme.current().use("dark")
    theme.current().use("light")
    assert len(set(listener.windows)) == 2
    theme.current().use("dark")
    theme.install(qapp, settings)
    assert theme.current().dark
    theme.install(qapp, settings, "light")
    assert settings.value("theme") == "dark", "a theme for this time only is not remembered"


def test_style_sheet_knows_all_its_colours(mode: str, qapp: QApplication) -> None:
    assert "@" not in qapp.styleSheet()
    for file in re.findall(r'url\("([^"]+)"\)', qapp.styleSheet()):
        assert Path(file).is_file()


def test_none_is_not_used_up(qtbot: QtBot) -> None:
    """PySide6 6.12.0 drops a reference to None per call and ends Python after some thousand."""
    label = QLabel()
    qtbot.addWidget(label)
    before = sys.getrefcount(None)
    for _ in range(1000):
        label.setText("")
    assert abs(sys.getrefcount(None) - before) < 100


def test_plots_can_be_written_as_svg(qtbot: QtBot) -> None:
    """pyqtgraph 0.14 fails at this on Qt 6.11 and later."""
    import pyqtgraph as pg
    from pyqtgraph.exporters import SVGExporter

    plot = pg.PlotWidget()
    qtbot.addWidget(plot)
    plot.plot([0, 1, 2], [1.0, 0.5, 0.25])
    svg = SVGExporter(plot.plotItem).export(toBytes=True)
    assert b"<svg" in svg
    assert b"<path" in svg or b"<polyline" in svg


def test_print_and_window_draw_series_in_the_same_order_of_styles() -> None:
    same = {"o": "o", "s": "s", "t1": "^", "d": "D", "t": "v", "star": "*", "p": "p", "+": "P"}
    for number in range(60):
        assert same[theme.series(number).symbol] == marker_of(number)
        assert theme.series(number).colour in (colour_of(number), "#F0F0F0")
    assert len({str(dash_of(number)) for number in range(5)}) == 5
