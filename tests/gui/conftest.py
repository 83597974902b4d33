"""A window without a screen, settings of its own, and nothing left behind."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"

import pytest
import shiboken6
from PySide6.QtCore import QEvent, QSettings, QTimer
from PySide6.QtWidgets import QApplication, QMenu
from pytestqt.qtbot import QtBot

from engine.events import Event
from engine.store import Store
from gui.base import error_hooks, theme
from gui.base.page_context import PageContext, make_context
from gui.bridge.engine_client import QtEngineClient
from tests.helpers.fake_results import FakeResults, fill
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.inline import Inline
from tests.helpers.page_kit import PageHarness, Tell
from tests.helpers.patient_bot import PatientBot

_UNABLE = "does not support (propagateSizeHints|raise|grabbing)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore what the offscreen platform says of windows with a minimum size, and of popups."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.qt_log_ignore(_UNABLE))


def _settle(app: QApplication) -> None:
    app.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    app.processEvents()


def _running_timers() -> list[QTimer]:
    timers = [thing for thing in gc.get_objects() if isinstance(thing, QTimer)]
    return [timer for timer in timers if shiboken6.isValid(timer) and timer.isActive()]


@pytest.fixture(scope="session", autouse=True)
def _imports_are_old(qapp: QApplication) -> None:
    """Take what is imported already out of the garbage collector's sight; it is slow to walk."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_behind(qapp: QApplication) -> Iterator[None]:
    """Fail a test that leaves a window, a running timer, a thread or a process."""
    windows, threads = set(qapp.topLevelWidgets()), set(threading.enumerate())
    yield
    _settle(qapp)
    gc.collect()
    _settle(qapp)
    left = set(qapp.topLevelWidgets()) - windows
    # A plot of pyqtgraph owns context menus without a parent, which go when Python likes.
    assert not [window for window in left if not isinstance(window, QMenu)]
    assert not _running_timers()
    assert set(threading.enumerate()) <= threads
    assert not multiprocessing.active_children()


@pytest.fixture(autouse=True)
def errors_fail_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the hooks to pytest; the program's own would only report what went wrong."""
    monkeypatch.setattr(error_hooks, "install", lambda: None)


@pytest.fixture
def qtbot(qapp: QApplication, request: pytest.FixtureRequest) -> PatientBot:
    """pytest-qt's robot, which waits as long as everything else here."""
    return PatientBot(request)


@pytest.fixture
def settings(tmp_path: Path) -> QSettings:
    """Settings that nothing else sees."""
    return QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)


@pytest.fixture
def engine() -> FakeEngineClient:
    """The engine behind ``context``."""
    return FakeEngineClient()


def _open(path: Path, engine: FakeEngineClient, settings: QSettings) -> Iterator[PageContext]:
    store = Store(path)
    context = make_context(store, QtEngineClient(engine), settings, executor=Inline())
    yield context
    context.close()


@pytest.fixture
def context(
    tmp_path: Path, engine: FakeEngineClient, settings: QSettings, qapp: QApplication
) -> Iterator[PageContext]:
    """A context without any run."""
    theme.install(qapp, settings, "light")
    yield from _open(tmp_path / "empty.db", engine, settings)


@pytest.fixture
def results(tmp_path: Path) -> FakeResults:
    """Twenty runs: eighteen finished, one failed, one waiting."""
    return fill(tmp_path / "results.db")


@pytest.fixture
def full_context(
    results: FakeResults, engine: FakeEngineClient, settings: QSettings, qapp: QApplication
) -> Iterator[PageContext]:
    """A context with the runs of ``results``."""
    theme.install(qapp, settings, "light")
    yield from _open(results.path, engine, settings)


@pytest.fixture
def harness(qtbot: QtBot, full_context: PageContext, results: FakeResults) -> PageHarness:
    """Makes pages over the runs of ``results`` and listens to them."""
    return PageHarness(qtbot, full_context, results)


@pytest.fixture
def tell(engine: FakeEngineClient) -> Tell:
    """Give events to a context as the engine would, without waiting for the clock."""

    def give(context: PageContext, *events: Event) -> None:
        engine.events += events
        context.client._drain()

    return give
