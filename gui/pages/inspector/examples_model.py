"""The kept images of a run as a list of thumbnails, painted when they come into view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QIcon, QImage, QPainter, QPixmap

from gui.pages.inspector.kept_images import KeptImages, pair_text, verdict
from gui.pages.inspector.pixels import fitting_scale, picture

Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
_ROLE = Qt.ItemDataRole
SIDE = 48
GAP = 4
_MOST_CACHED = 2000


class ExamplesModel(QAbstractListModel):
    """Rows are the images chosen by filter and order; ``place`` gives the image of a row."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._examples: KeptImages | None = None
        self._places: list[int] = []
        self._icons: dict[int, QIcon] = {}

    def show_examples(self, examples: KeptImages | None, places: Sequence[int]) -> None:
        """Replace what is shown."""
        self.beginResetModel()
        if examples is not self._examples:
            self._icons.clear()
        self._examples, self._places = examples, list(places)
        self.endResetModel()

    def place(self, row: int) -> int:
        """Which image a row shows."""
        return self._places[row]

    def row_of(self, image: int) -> int:
        """The row of an image, -1 if it is not shown."""
        return self._places.index(image) if image in self._places else -1

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self._places)

    def data(self, index: Index, role: int = _ROLE.DisplayRole) -> Any:
        if self._examples is None:
            return None
        image = self._places[index.row()]
        match role:
            case _ROLE.DisplayRole:
                return pair_text(self._examples, image)
            case _ROLE.DecorationRole:
                return self._icon(image)
            case _ROLE.ToolTipRole | _ROLE.AccessibleDescriptionRole:
                row = self._examples.samples[image]
                return f"Image {row['index']}: {verdict(row)}"
        return None

    def _icon(self, image: int) -> QIcon:
        if image not in self._icons:
            if len(self._icons) >= _MOST_CACHED:
                self._icons.clear()
            self._icons[image] = self._paint(image)
        return self._icons[image]

    def _paint(self, image: int) -> QIcon:
        assert self._examples is not None
        pixmap = QPixmap(2 * SIDE + GAP, SIDE)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        for column, images in enumerate((self._examples.clean, self._examples.adversarial)):
            draw_fitted(painter, picture(images[image]), column * (SIDE + GAP), 0, SIDE)
        painter.end()
        icon = QIcon(pixmap)
        icon.addPixmap(pixmap, QIcon.Mode.Selected)  # or Qt tints what is selected
        return icon


def draw_fitted(painter: QPainter, image: QImage, left: int, top: int, side: int) -> None:
    """Draw an image into a square, as large as whole-number scales allow, centred."""
    scale = fitting_scale(image.width(), image.height(), side, side)
    width, height = round(image.width() * scale), round(image.height() * scale)
    how = Qt.TransformationMode
    mode = how.SmoothTransformation if scale < 1 else how.FastTransformation
    scaled = image.scaled(width, height, Qt.AspectRatioMode.IgnoreAspectRatio, mode)
    painter.drawImage(left + (side - width) // 2, top + (side - height) // 2, scaled)
