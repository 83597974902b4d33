"""What opening a page costs the window's thread: counted, because time hangs on the day."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import shiboken6
from PySide6.QtCore import QEvent, QObject, QSettings
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from engine.store import Store
from gui.base import theme
from gui.base.page_context import PageContext, make_context
from gui.bridge.engine_client import QtEngineClient
from gui.pages import PAGES
from gui.shell.main_window import MainWindow
from gui.widgets.plots import Plot
from tests.helpers.fake_results import FakeResults
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.inline import Held


class Moves(QObject):
    """Gathers what moves into a window with others in it.

    Attributes:
        carried: how many it held, by the name of its class.
    """

    def __init__(self, window: QWidget) -> None:
        super().__init__()
        self._window = window
        self.carried: dict[str, int] = {}

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ParentChange and isinstance(watched, QWidget):
            held = len(watched.findChildren(QWidget))
            if held and watched.window() is self._window and not isinstance(watched, Plot):
                self.carried[type(watched).__name__] = held
        return False


@pytest.fixture
def window(qtbot: QtBot, full_context: PageContext) -> MainWindow:
    window = MainWindow(full_context, "new")
    qtbot.addWidget(window)
    window.resize(1280, 720)
    window.show()
    return window


@pytest.fixture
def moves(window: MainWindow, qapp: QApplication) -> Iterator[Moves]:
    made = Moves(window)
    qapp.installEventFilter(made)
    yield made
    qapp.removeEventFilter(made)


@pytest.mark.parametrize("page_id", [page_id for page_id in PAGES if page_id != "new"])
def test_a_page_is_made_where_it_stands(
    window: MainWindow, moves: Moves, qapp: QApplication, page_id: str
) -> None:
    """What gets another parent is styled anew with everything in it."""
    window.show_page(page_id)
    qapp.processEvents()
    assert moves.carried == {}


def test_details_are_made_where_they_stand(
    window: MainWindow, moves: Moves, results: FakeResults
) -> None:
    window.details.show()
    window.details.show_runs([results.flagged])
    window.details.show_method("attacks", "pgd")
    assert moves.carried == {}


def test_hidden_details_read_nothing(
    window: MainWindow, results: FakeResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[int] = set()
    run = Store.run

    def counted(store: Store, run_id: int) -> Any:
        read.add(run_id)
        return run(store, run_id)

    monkeypatch.setattr(Store, "run", counted)
    window.details.show_runs([results.flagged])
    assert not read
    window.details.show()
    assert read == {results.flagged}
    assert window.details.title.text().startswith(f"Run {results.flagged}: ")
    window.details.hide()
    window.details.show_method("attacks", "fgsm")
    window.details.show()
    assert window.details.title.text() == "FGSM"


@pytest.mark.parametrize("page_id", PAGES)
def test_a_window_may_close_before_a_page_has_all_its_parts(
    results: FakeResults,
    engine: FakeEngineClient,
    settings: QSettings,
    qapp: QApplication,
    page_id: str,
) -> None:
    theme.install(qapp, settings, "light")
    held = Held()
    context = make_context(Store(results.path), QtEngineClient(engine), settings, executor=held)
    window = MainWindow(context, page_id)
    window.show()
    window.close()
    window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    held.go_on()
    qapp.processEvents()
    context.close()
    held.go_on()
    assert not shiboken6.isValid(window)
