"""What is current can be read where it is drawn: measured on pixels, in both themes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from PySide6.QtCore import QRect, QSettings
from PySide6.QtGui import QColor
from PySide6.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QComboBox,
    QListView,
    QListWidget,
    QMenu,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)
from pytestqt.qtbot import QtBot

from gui.base import theme
from gui.widgets.inputs import ComboBox
from tests.helpers.colours import contrast

LEAST = 4.5
COUNT = 8


def ink_and_paper(widget: QWidget, where: QRect) -> tuple[str, str]:
    """The commonest colour of a part of a widget, and the one that differs most from it."""
    image = widget.grab(where).toImage()
    pixels = Counter(
        QColor(image.pixel(x, y)).name()
        for x in range(image.width())
        for y in range(image.height())
    )
    paper = pixels.most_common(1)[0][0]
    return max(pixels, key=lambda one: contrast(one, paper)), paper


def _row(view: QAbstractItemView, row: int) -> QRect:
    return view.visualRect(view.model().index(row, 0)).adjusted(3, 3, -3, -3)


def _combo(qtbot: QtBot, box: QComboBox) -> tuple[QWidget, QRect]:
    box.addItems([f"Entry {index}" for index in range(COUNT)])
    box.setCurrentIndex(3)
    box.resize(240, 26)
    box.show()
    box.showPopup()
    qtbot.waitUntil(box.view().isVisible)
    QApplication.processEvents()
    return box.view().viewport(), _row(box.view(), 3)


def _list(qtbot: QtBot, view: QListWidget) -> tuple[QWidget, QRect]:
    view.addItems([f"Entry {index}" for index in range(COUNT)])
    view.setCurrentRow(2)
    view.show()
    QApplication.processEvents()
    return view.viewport(), _row(view, 2)


def _table(qtbot: QtBot, view: QTableWidget) -> tuple[QWidget, QRect]:
    view.setRowCount(3)
    view.setColumnCount(1)
    for row in range(3):
        view.setItem(row, 0, QTableWidgetItem(f"Entry {row}"))
    view.selectRow(1)
    view.show()
    QApplication.processEvents()
    return view.viewport(), _row(view, 1)


def _menu(qtbot: QtBot, menu: QMenu) -> tuple[QWidget, QRect]:
    entries = [menu.addAction(f"Entry {index}") for index in range(3)]
    menu.popup(menu.pos())
    menu.setActiveAction(entries[1])
    QApplication.processEvents()
    return menu, menu.actionGeometry(entries[1]).adjusted(3, 3, -3, -3)


KINDS: dict[str, tuple[type[QWidget], Callable[..., tuple[QWidget, QRect]]]] = {
    "combo": (QComboBox, _combo),
    "own combo": (ComboBox, _combo),
    "list": (QListWidget, _list),
    "table": (QTableWidget, _table),
    "menu": (QMenu, _menu),
}


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_current_entry_can_be_read(
    qtbot: QtBot, qapp: QApplication, settings: QSettings, mode: str, kind: str
) -> None:
    theme.install(qapp, settings, mode)
    make, show = KINDS[kind]
    widget = make()
    qtbot.addWidget(widget)
    painted, where = show(qtbot, widget)
    ink, paper = ink_and_paper(painted, where)
    assert contrast(ink, paper) >= LEAST, (ink, paper)
    rest = {"combo": "surface", "own combo": "surface"}.get(kind)
    if rest is not None:
        assert paper != theme.current().colours[rest], "the current entry looks like the others"
    (widget.hidePopup if isinstance(widget, QComboBox) else widget.hide)()


@pytest.mark.parametrize("count", [1, 2, 8, 10, 40])
def test_a_drop_down_shows_its_last_row(
    qtbot: QtBot, qapp: QApplication, settings: QSettings, count: int
) -> None:
    theme.install(qapp, settings, "light")
    box = ComboBox()
    qtbot.addWidget(box)
    box.addItems([f"An entry of some length {index}" for index in range(count)])
    box.setCurrentIndex(0)
    box.show()
    box.showPopup()
    qtbot.waitUntil(box.view().isVisible)
    QApplication.processEvents()
    view = box.view()
    assert isinstance(view, QListView)
    shown = min(count, box.maxVisibleItems())
    last = view.visualRect(view.model().index(shown - 1, 0))
    room = view.viewport().rect()
    assert room.contains(last.center())
    assert last.bottom() <= room.bottom()
    assert view.window().rect().contains(view.geometry())
    assert view.verticalScrollBar().isVisible() is (count > shown)
    box.hidePopup()
