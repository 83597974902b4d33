"""PNG files, whatever they are called: nothing guesses at a format."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QByteArray
from PySide6.QtGui import QImage, QImageReader, QImageWriter

_PNG = QByteArray(b"png")


def write_png(image: QImage, path: Path) -> bool:
    """Write an image; False if the file cannot be written."""
    return QImageWriter(str(path), _PNG).write(image)


def read_png(path: Path) -> QImage:
    """Read an image with the decoder of PNG and no other; null if it is none."""
    return QImageReader(str(path), _PNG).read()
