"""A sheet of examples as one picture: clean, adversarial and perturbation of several images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QColor, QFont, QImage, QPainter

from gui.base.png_files import write_png
from gui.pages.inspector.examples_model import draw_fitted
from gui.pages.inspector.kept_images import KeptImages, pair_text
from gui.pages.inspector.pixels import perturbation, picture

MOST = 24
_SIDE, _GAP, _TEXT, _COLUMNS = 128, 8, 24, 2
_HEADS = ("clean", "adversarial", "perturbation")


def draw_sheet(
    examples: KeptImages, places: Sequence[int], factor: float, *, absolute: bool
) -> QImage:
    """Draw up to ``MOST`` images, two triples a row, black on white."""
    places = places[:MOST]
    columns = min(_COLUMNS, len(places))
    rows = -(-len(places) // _COLUMNS)
    triple = 3 * (_SIDE + _GAP)
    width = columns * triple + (columns - 1) * 2 * _GAP + _GAP
    height = _TEXT + rows * (_SIDE + _TEXT + _GAP)
    sheet = QImage(width, height, QImage.Format.Format_RGB32)
    sheet.fill(QColor("white"))
    painter = QPainter(sheet)
    font = QFont()
    font.setPixelSize(13)
    painter.setFont(font)
    painter.setPen(QColor("black"))
    for column in range(columns):
        for number, head in enumerate(_HEADS):
            left = _GAP + column * (triple + 2 * _GAP) + number * (_SIDE + _GAP)
            text = f"{head} x{factor:g}" if number == 2 else head
            painter.drawText(QRect(left, 0, _SIDE, _TEXT), Qt.AlignmentFlag.AlignCenter, text)
    for number, index in enumerate(places):
        left = _GAP + (number % _COLUMNS) * (triple + 2 * _GAP)
        top = _TEXT + (number // _COLUMNS) * (_SIDE + _TEXT + _GAP)
        _draw_triple(painter, examples, index, left, top, factor, absolute)
    painter.end()
    return sheet


def _draw_triple(
    painter: QPainter,
    examples: KeptImages,
    index: int,
    left: int,
    top: int,
    factor: float,
    absolute: bool,
) -> None:
    images = (
        picture(examples.clean[index]),
        picture(examples.adversarial[index]),
        perturbation(examples.delta(index), factor, absolute=absolute),
    )
    for number, image in enumerate(images):
        draw_fitted(painter, image, left + number * (_SIDE + _GAP), top, _SIDE)
    row = examples.samples[index]
    text = f"image {row['index']}, label {examples.name(row['label'])}:  "
    below = QRect(left, top + _SIDE, 3 * _SIDE, _TEXT)
    side = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
    painter.drawText(below, side, text + pair_text(examples, index))


def save_sheet(
    path: Path, examples: KeptImages, places: Sequence[int], factor: float, *, absolute: bool
) -> bool:
    """Write the sheet as PNG; False if the file cannot be written."""
    return write_png(draw_sheet(examples, places, factor, absolute=absolute), path)
