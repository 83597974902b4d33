"""Methods of one's own from the window: trusted files and a package in forms, queue and results.

The files are the examples of the documentation; the real worker runs them, and each is asked in a
process of its own what it brings, as for a user.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QSettings, Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine import events, extensions
from engine.errors import SpecError
from engine.process.client import EngineClient
from engine.store import Store
from gui.base import theme
from gui.base.page_context import make_context
from gui.bridge.engine_client import QtEngineClient
from gui.pages.new.page import NewPage
from gui.shell.main_window import MainWindow
from tests.helpers.own_methods import EXAMPLES, GREY, write, write_package

pytestmark = [
    pytest.mark.slow,
    pytest.mark.qt_log_ignore("does not support propagateSizeHints"),
]


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust of this test alone; a package on the path of this process and of its children."""
    monkeypatch.setenv("CRUMPLE_METHODS", str(tmp_path / "record"))
    write_package(tmp_path / "site", GREY, name="crumple-grey")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.fixture
def window(tmp_path: Path, qtbot: QtBot, qapp: QApplication, record: None) -> Iterator[MainWindow]:
    settings = QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)
    theme.install(qapp, settings, "light")
    store = Store(tmp_path / "own.db")
    extensions.activate(ask=False)
    context = make_context(store, QtEngineClient(EngineClient(store.path)), settings)
    window = MainWindow(context, "new")
    with qtbot.waitActive(window):
        window.show()
        window.activateWindow()
    yield window
    window.close()
    context.close()
    window.deleteLater()
    qapp.processEvents()


def tick(qtbot: QtBot, page: NewPage, column: str, name: str) -> None:
    block = getattr(page, column).block(name)
    getattr(page, column).area.ensureWidgetVisible(block)
    place = QPoint(8, block.box.height() // 2)
    qtbot.mouseClick(block.box, Qt.MouseButton.LeftButton, pos=place)
    assert block.box.isChecked()


def test_from_a_file_and_a_package_to_rows(
    qtbot: QtBot, window: MainWindow, tmp_path: Path
) -> None:
    page = window.page()
    assert isinstance(page, NewPage)
    page.data.models["digits-resnet-at"].setChecked(True)
    page.data.limit.setValue(10)
    assert "grey" not in page.attacks._ids, "nobody asked the package yet"

    # In a terminal beside the window; a broken file stays out and does no harm.
    for name in ("sign_momentum.py", "random_pruning.py"):
        extensions.add(EXAMPLES / name, lambda _: True)
    with pytest.raises(SpecError):
        extensions.add(write(tmp_path, "1 / 0", "broken.py"), lambda _: True)
    # The engine of the window asks the package.
    ready: list[events.Event] = []
    window.context.client.happened.connect(ready.append)
    window.context.client.start()
    qtbot.waitUntil(lambda: any(isinstance(one, events.WorkerReady) for one in ready))
    page.refresh()
    assert page.data.models["digits-resnet-at"].isChecked(), "the draft stays"
    for column, name in (
        ("compressions", "random-pruning"),
        ("attacks", "sign-momentum"),
        ("attacks", "grey"),
    ):
        tick(qtbot, page, column, name)
    form = page.attacks.block("sign-momentum").form
    assert form is not None
    assert list(form.fields) == ["eps", "steps", "decay"]
    assert "sign_momentum.py" in page.attacks.block("sign-momentum").box.accessibleName()
    # So large that nothing is left for the checks of survivors, which take their time.
    page.attacks.block("sign-momentum").put({"name": "sign-momentum", "eps": 0.8, "steps": 3})
    page.attacks.changed.emit()
    assert page.study is not None
    assert len(page.study.runs()) == 4

    qtbot.keyClick(window, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: any(isinstance(one, events.StudyFinished) for one in ready))
    rows = window.context.store.results()
    assert [row["status"] for row in rows] == ["finished"] * 4
    assert {row["compression"] for row in rows} == {
        "none",
        page.study.recipes()[1][0].label,
    }
    origins = {"sign_momentum.py", "crumple-grey 1.2"}
    assert all(any(name in str(row["attack"]) for row in rows) for name in origins)
