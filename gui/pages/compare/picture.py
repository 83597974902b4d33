"""A chart as a picture: what is seen, with the legend that stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, QSize, QSizeF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QIcon, QImage, QPainter
from PySide6.QtSvg import QSvgGenerator

from gui.base import theme
from gui.base.png_files import write_png

if TYPE_CHECKING:
    from gui.widgets.plots import Plot

_LINE, _GAP = 20, 8
_ICON = QSize(40, 16)
_SHARP = 2
"""Pixels of a PNG for each on screen."""

Entry = tuple[QIcon, str]


def save_picture(plot: Plot, legend: Sequence[Entry], path: Path) -> None:
    """Write the chart, and below it a line for each entry: PNG or SVG, by the suffix.

    Raises:
        OSError: the file cannot be written.
    """
    font = QFont(plot.font())
    width = max([plot.width(), *(_width(font, text) for _, text in legend)])
    size = QSizeF(width, plot.height() + (_LINE * len(legend) + _GAP if legend else 0))
    if path.suffix == ".svg":
        generator = QSvgGenerator()
        generator.setFileName(str(path))
        generator.setSize(size.toSize())
        generator.setViewBox(QRectF(0, 0, size.width(), size.height()))
        _paint(QPainter(generator), plot, legend, size, font)
        written = path.is_file()
    else:
        image = QImage(size.toSize() * _SHARP, QImage.Format.Format_RGB32)
        image.setDevicePixelRatio(_SHARP)
        _paint(QPainter(image), plot, legend, size, font)
        written = write_png(image, path)
    if not written:
        raise OSError(None, "the picture was refused")


def _width(font: QFont, text: str) -> float:
    return _ICON.width() + 3 * _GAP + QFontMetricsF(font).horizontalAdvance(text)


def _paint(
    painter: QPainter, plot: Plot, legend: Sequence[Entry], size: QSizeF, font: QFont
) -> None:
    colours = theme.plot_colours()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.fillRect(QRectF(0, 0, size.width(), size.height()), QColor(colours.background))
    seen = QRectF(plot.viewport().rect())
    plot.scene().render(painter, QRectF(0, 0, seen.width(), seen.height()), seen)
    painter.setFont(font)
    painter.setPen(QColor(colours.foreground))
    for number, (icon, text) in enumerate(legend):
        top = plot.height() + _LINE * number
        icon.paint(painter, _GAP, int(top + 2), _ICON.width(), _ICON.height())
        left = _ICON.width() + 2 * _GAP
        where = QRectF(left, top, size.width() - left, _LINE)
        painter.drawText(where, int(Qt.AlignmentFlag.AlignVCenter), text)
    painter.end()
