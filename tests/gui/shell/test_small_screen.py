"""A screen of 1280x720 with a window manager's frame: all is there, and nothing moves away."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, QRect
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QScrollArea,
    QWidget,
)
from pytestqt.qtbot import QtBot

from engine import catalog
from engine.host import paths
from gui.base.page_context import PageContext
from gui.pages import PAGES
from gui.shell.main_window import MainWindow
from gui.widgets.message_bar import Message
from gui.widgets.note_line import NoteLine
from tests.helpers.fake_results import FakeResults

WIDTH, HEIGHT = 1280, 680  # 720 less 40 of a frame
CONTROLS = (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QPlainTextEdit)


@pytest.fixture
def window(qtbot: QtBot, full_context: PageContext) -> MainWindow:
    window = MainWindow(full_context, "new")
    qtbot.addWidget(window)
    window.resize(WIDTH, HEIGHT)
    window.show()
    return window


def settle(shown: QWidget) -> None:
    """Let layouts, and what follows from a first painting, come to rest."""
    for _ in range(3):
        shown.grab()
        QApplication.processEvents()


def cut_off(shown: QWidget) -> list[str]:
    """Controls of which a part cannot be seen, nor scrolled to."""
    hidden_parts = []
    for widget in shown.findChildren(QWidget):
        in_table = isinstance(widget.parentWidget(), QAbstractItemView | QAbstractSpinBox)
        if not isinstance(widget, CONTROLS) or not widget.isVisible() or in_table:
            continue
        above = widget.parentWidget()
        while above is not None and above is not shown.parentWidget():
            place = QRect(widget.mapTo(above, QPoint()), widget.size())
            room = above.rect()
            scrolls = isinstance(above.parentWidget(), QScrollArea)
            sideways = place.left() < room.left() or place.right() > room.right()
            lengthwise = place.top() < room.top() or place.bottom() > room.bottom()
            inside = isinstance(above.parentWidget(), QAbstractItemView)
            if inside:
                break
            if sideways or (lengthwise and not scrolls):
                hidden_parts.append(f"{widget} {widget.accessibleName()} {place} in {above} {room}")
                break
            if scrolls and lengthwise:
                break
            above = above.parentWidget()
    return hidden_parts


@pytest.mark.parametrize("details", [False, True], ids=["without", "with"])
def test_every_page_fits_a_small_screen(
    qtbot: QtBot, window: MainWindow, results: FakeResults, details: bool
) -> None:
    window.load_study(paths.example_study())
    window.toast.clear()
    window.details.setVisible(details)
    for page_id in PAGES:
        window.show_page(page_id, [results.flagged] if page_id in ("runs", "compare") else None)
        window.details.show_runs([results.flagged])
        qtbot.waitUntil(lambda: window.stack.currentWidget().isVisible())
        settle(window)
        assert (window.width(), window.height()) == (WIDTH, HEIGHT), page_id
        least = window.minimumSizeHint()
        assert least.width() <= WIDTH, page_id
        assert least.height() <= HEIGHT, page_id
        bar = QRect(window.status.mapTo(window, QPoint()), window.status.size())
        assert window.rect().contains(bar), f"the status bar is off {page_id}"
        assert cut_off(window) == [], page_id
        for area in window.page().findChildren(QScrollArea):
            if area.isVisible():
                assert area.viewport().width() >= area.widget().minimumSizeHint().width(), page_id


def test_a_window_with_details_opens_as_wide_as_the_screen(
    qtbot: QtBot, full_context: PageContext
) -> None:
    """What New hides takes no room, also before the first event."""
    full_context.settings.setValue("window/details", "true")
    window = MainWindow(full_context, "new")
    qtbot.addWidget(window)
    window.resize(WIDTH, HEIGHT)
    window.show()
    assert window.details.isVisible()
    assert window.width() == WIDTH


def test_every_study_that_comes_along_fits_beside_the_details(window: MainWindow) -> None:
    """With all known recipes and every family of methods open, too."""
    window.details.show()
    page = window._new_page()
    for file in sorted((paths.resources() / "studies").glob("*.toml")):
        window.load_study(file)
        settle(window)
        assert window.minimumSizeHint().width() <= WIDTH, file.name
    known = page.compressions.preset_button.menu()
    known.aboutToShow.emit()
    assert known.actions()
    for action in known.actions():
        action.trigger()
    for group in (*page.compressions.groups, *page.attacks.groups):
        group.expand(True)
        group.folded.emit()
    settle(window)
    assert window.minimumSizeHint().width() <= WIDTH
    assert window.width() == WIDTH
    window.toast.clear()


def test_the_first_window_leaves_room_for_its_frame(qtbot: QtBot, context: PageContext) -> None:
    window = MainWindow(context, "new")
    qtbot.addWidget(window)
    room = window.screen().availableSize()
    assert window.height() <= room.height() - 40
    assert window.minimumHeight() <= 680
    assert window.height() <= 720


@pytest.mark.parametrize("page_id", PAGES)
def test_a_message_moves_nothing(
    qtbot: QtBot, window: MainWindow, results: FakeResults, page_id: str
) -> None:
    """Neither the bar of a page nor a toast takes a button from under the pointer or covers one
    of the last row of New."""
    window.show_page(page_id, [results.flagged] if page_id in ("runs", "compare") else None)
    settle(window)
    before = _places(window)
    message = Message("Something is wrong with this. " * 4, "Do that.", "error", "Trace", "Undo")
    window.frame(page_id).bar.show_message(message)
    window.toast.show_message(message)
    settle(window)
    assert window.frame(page_id).bar.isVisible()
    assert before.items() <= _places(window).items()
    if page_id == "new":
        start = window._new_page().start_button
        for bar in (window.toast, window.frame("new").bar):
            at = QRect(start.mapTo(window, QPoint()), start.size())
            assert not at.intersects(QRect(bar.mapTo(window, QPoint()), bar.size()))
    window.toast.clear()


def _places(window: MainWindow) -> dict[int, QRect]:
    return {
        id(widget): QRect(widget.mapTo(window, QPoint()), widget.size())
        for widget in window.page().findChildren(QWidget)
        if isinstance(widget, CONTROLS) and widget.isVisible()
    }


@pytest.mark.parametrize("page_id", ["runs", "compare"])
def test_a_wrong_filter_moves_nothing(qtbot: QtBot, window: MainWindow, page_id: str) -> None:
    window.show_page(page_id)
    settle(window)
    page = window.page()
    before = _places(window)
    page.filter_line.set_now("bogus>1")
    settle(window)
    assert page.filter_note.isVisible()
    assert before.items() <= _places(window).items()


def test_a_message_of_the_library_moves_nothing(qtbot: QtBot, window: MainWindow) -> None:
    window.models.show_library()
    shelf = window.models.library
    assert shelf is not None
    settle(shelf)
    use = shelf.card.buttons["use"]
    before = use.mapTo(shelf, QPoint())
    shelf.message.show_message(Message("It was deleted.", "Ctrl+Z brings it back.", button="Undo"))
    settle(shelf)
    assert use.mapTo(shelf, QPoint()) == before
    at = QRect(use.mapTo(shelf, QPoint()), use.size())
    assert not at.intersects(shelf.message.geometry())


@pytest.mark.parametrize("width", [1260, 1600])
def test_models_that_do_not_fit_move_no_choice(
    qtbot: QtBot, window: MainWindow, width: int
) -> None:
    """The warning takes the room of the facts, above the very choice that brought it about."""
    window.resize(width, HEIGHT)
    settle(window)
    data = window._new_page().data
    before = data.dataset.mapTo(window, QPoint())
    names = list(catalog.section("datasets"))
    for name in ("imagenet", "digits", "cifar10"):
        data.dataset.setCurrentIndex(names.index(name))
        data.dataset.activated.emit(names.index(name))
        settle(window)
        notes = [note for note in data.model_list.findChildren(NoteLine) if note.isVisible()]
        assert bool(notes) is (name != "digits")
        assert abs(data.dataset.mapTo(window, QPoint()).y() - before.y()) <= 1, name
