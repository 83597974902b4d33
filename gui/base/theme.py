"""Colours, icons and the style of the window; light, dark or as the system is."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from PySide6.QtCore import QByteArray, QObject, QRectF, QSettings, Qt, Signal
from PySide6.QtGui import QColor, QGuiApplication, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication

from engine.host import paths
from engine.report.naming import BASE

MODES = ("system", "light", "dark")
_SETTING = "theme"
_ICON_SIZES = (16, 24, 48)
_POINTS = 10.0


@dataclass(frozen=True)
class SeriesStyle:
    """How one series is drawn; colour, marker and dash all differ between neighbours.

    Attributes:
        colour: "#rrggbb" (Okabe & Ito 2008).
        symbol: marker, as pyqtgraph names it.
        dash: style of the line.
    """

    colour: str
    symbol: str
    dash: Qt.PenStyle


@dataclass(frozen=True)
class PlotColours:
    """Colours of a chart's paper, ink and grid."""

    background: str
    foreground: str
    grid: str


_BLACK = "#000000"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", _BLACK)
_SYMBOLS = ("o", "s", "t1", "d", "t", "star", "p", "+")
_METHODS = ("o", "s", "t1", "d", "t", "+", "x", "t3", "t2", "p", "h", *string.ascii_uppercase)
_BASE_SYMBOL = "star"
_DASHES = (
    Qt.PenStyle.SolidLine,
    Qt.PenStyle.DashLine,
    Qt.PenStyle.DotLine,
    Qt.PenStyle.DashDotLine,
    Qt.PenStyle.DashDotDotLine,
)


class Theme(QObject):
    """The colours in force.

    Signals:
        changed: the colours are others now; recolour what does not follow the palette.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.mode = "system"
        self.dark = False
        self.settings: QSettings | None = None

    @property
    def colours(self) -> dict[str, str]:
        """The colours in force, by role (``resources/themes/*.json``)."""
        return _read_colours("dark" if self.dark else "light")

    def follow_system(self) -> None:
        """Take over the system's choice when it changes."""
        if self.mode == "system":
            self.use("system")

    def use(self, mode: str) -> None:
        """Show one of ``MODES`` and remember it."""
        self.mode = mode if mode in MODES else "system"
        if self.settings is not None:
            self.settings.setValue(_SETTING, self.mode)
        scheme = QGuiApplication.styleHints().colorScheme()
        self.dark = self.mode == "dark" or (self.mode == "system" and scheme == Qt.ColorScheme.Dark)
        app = QApplication.instance()
        if isinstance(app, QApplication):
            app.setPalette(_palette(self.colours))
            app.setStyleSheet(_style_sheet(self.colours, "dark" if self.dark else "light"))
        self.changed.emit()


@cache
def current() -> Theme:
    """The theme of this process."""
    return Theme()


def install(app: QApplication, settings: QSettings, mode: str | None = None) -> None:
    """Style the application as the settings (or ``mode``) say and follow the system."""
    theme = current()
    app.setStyle("Fusion")
    font = app.font()
    font.setPointSizeF(_POINTS)
    app.setFont(font)
    theme.settings = None if mode else settings
    theme.use(mode or str(settings.value(_SETTING, "system")))
    theme.settings = settings
    app.styleHints().colorSchemeChanged.connect(
        theme.follow_system, Qt.ConnectionType.UniqueConnection
    )


def colour(role: str) -> QColor:
    """A colour of the theme in force, by role."""
    return QColor(current().colours[role])


def series(index: int) -> SeriesStyle:
    """The style of series number ``index``; the same as in the exported charts."""
    shade = _COLOURS[index % len(_COLOURS)]
    if shade == _BLACK and current().dark:
        shade = "#F0F0F0"
    return SeriesStyle(shade, _SYMBOLS[index % len(_SYMBOLS)], _DASHES[index % len(_DASHES)])


def method_markers(methods: Sequence[str]) -> dict[str, str]:
    """A marker for each method, in the order of the exported charts; a star for the base model.

    Where there are more methods than shapes that eyes tell apart, capital letters.
    """
    symbols = {method: _METHODS[n % len(_METHODS)] for n, method in enumerate(methods)}
    return {
        method: _BASE_SYMBOL if method == BASE else symbol for method, symbol in symbols.items()
    }


def plot_colours() -> PlotColours:
    """Paper, ink and grid of charts in the theme in force."""
    colours = current().colours
    return PlotColours(colours["plot_background"], colours["plot_foreground"], colours["plot_grid"])


def icon(name: str, role: str = "text") -> QIcon:
    """An icon of ``resources/icons`` in a colour of the theme in force."""
    colours = current().colours
    return _icon(name, colours[role], colours["disabled"])


@cache
def _icon(name: str, normal: str, disabled: str) -> QIcon:
    result = QIcon()
    states = ((QIcon.Mode.Normal, normal), (QIcon.Mode.Disabled, disabled))
    for mode, shade in states:
        source = _svg(name).replace("currentColor", shade)
        renderer = QSvgRenderer(QByteArray(source.encode()))
        for size in _ICON_SIZES:
            result.addPixmap(_render(renderer, size), mode)
    return result


def _render(renderer: QSvgRenderer, size: int) -> QPixmap:
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    renderer.render(painter, QRectF(0, 0, size, size))
    painter.end()
    return pixmap


@cache
def _svg(name: str) -> str:
    return (paths.resources() / "icons" / f"{name}.svg").read_text("utf-8")


@cache
def _read_colours(name: str) -> dict[str, str]:
    file = paths.resources() / "themes" / f"{name}.json"
    colours: dict[str, str] = json.loads(file.read_text("utf-8"))
    return colours


@cache
def _template() -> str:
    return (paths.resources() / "themes" / "crumple.qss").read_text("utf-8")


def _style_sheet(colours: dict[str, str], mode: str) -> str:
    values = {
        **colours,
        "mode": mode,
        "folder": (paths.resources() / "themes").as_posix(),
        "font": f"{_POINTS:g}pt",
        "small": f"{_POINTS - 1.5:g}pt",
        "title": f"{_POINTS + 4:g}pt",
        "big": f"{_POINTS + 7:g}pt",
    }
    return re.sub(r"@([a-z_]+)", lambda match: values[match[1]], _template())


def _palette(colours: dict[str, str]) -> QPalette:
    role = QPalette.ColorRole
    roles = {
        role.Window: "window",
        role.WindowText: "text",
        role.Base: "field",
        role.AlternateBase: "alternate",
        role.Text: "text",
        role.Button: "button",
        role.ButtonText: "text",
        role.BrightText: "on_accent",
        role.ToolTipBase: "tooltip",
        role.ToolTipText: "on_tooltip",
        role.PlaceholderText: "muted",
        role.Highlight: "accent",
        role.HighlightedText: "on_accent",
        role.Link: "accent",
        role.LinkVisited: "accent",
        role.Accent: "accent",
    }
    palette = QPalette(QColor(colours["button"]), QColor(colours["window"]))
    for key, name in roles.items():
        palette.setColor(key, QColor(colours[name]))
    for key in (role.WindowText, role.Text, role.ButtonText, role.HighlightedText):
        palette.setColor(QPalette.ColorGroup.Disabled, key, QColor(colours["disabled"]))
    palette.setColor(QPalette.ColorGroup.Disabled, role.Highlight, QColor(colours["border"]))
    return palette
