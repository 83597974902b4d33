"""The main job by mouse and keyboard, in a real window with a real worker process.

Not collected by itself: ``test_window`` runs it under Xvfb.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from PySide6.QtCore import QPoint, QSettings, Qt, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QApplication,
    QFileDialog,
    QLabel,
    QLineEdit,
    QMenu,
    QTableView,
    QWidget,
)

from engine import events
from engine.process.client import EngineClient
from engine.report.evidence import lights, summarise
from engine.statistics.words import percent
from engine.store import Store
from gui.base import theme
from gui.base.page_context import make_context
from gui.bridge.engine_client import QtEngineClient
from gui.shell.main_window import MainWindow
from tests.helpers.patience import until

W = TypeVar("W", bound=QWidget)


class Person:
    """Somebody at the window: looks for things by their accessible name, clicks and types."""

    def __init__(self, window: MainWindow) -> None:
        self.window = window
        self.events: list[events.Event] = []
        window.context.client.happened.connect(self.events.append)

    def find(self, name: str, kind: type[W]) -> W:
        found = [
            one
            for one in self.window.findChildren(kind)
            if one.isVisible() and one.accessibleName() == name
        ]
        texts = [
            one
            for one in self.window.findChildren(kind)
            if one.isVisible() and getattr(one, "text", lambda: "")().strip() == name
        ]
        assert len(found or texts) == 1, f"{name!r}: {len(found)} by name, {len(texts)} by text"
        return (found or texts)[0]

    def click(self, widget: QWidget) -> None:
        """Press the mouse in the middle of a widget."""
        self.click_at(widget, widget.rect().center())

    def click_at(self, widget: QWidget, place: QPoint) -> None:
        """Press the mouse in the top-level window, at a place of the widget."""
        QTest.mouseClick(
            self.window.windowHandle(),
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
            widget.mapTo(self.window, place),
        )

    def press(self, keys: str) -> None:
        """Press a shortcut such as ``Ctrl+Return`` in the top-level window."""
        *modifiers, key = keys.split("+")
        mask = Qt.KeyboardModifier.NoModifier
        for one in modifiers:
            mask |= {
                "Ctrl": Qt.KeyboardModifier.ControlModifier,
                "Shift": Qt.KeyboardModifier.ShiftModifier,
            }[one]
        QTest.keyClick(self.window.windowHandle(), getattr(Qt.Key, f"Key_{key}"), mask)

    def type(self, widget: QWidget, text: str) -> None:
        """Replace what a field holds."""
        self.click(widget)
        self.press("Ctrl+A")
        for letter in text:
            QTest.keyClick(self.window.windowHandle(), letter)
        self.press("Tab")

    def until(self, true: Callable[[], Any], what: str) -> Any:
        """Watch until something happens."""
        return until(true, what, lambda: QTest.qWait(20))

    def heard(self, kind: type[events.Event], **fields: object) -> list[Any]:
        return [
            one
            for one in self.events
            if isinstance(one, kind)
            and all(getattr(one, name) == value for name, value in fields.items())
        ]

    def answer_file_dialog(self, path: Path) -> None:
        """Type a path into the next file dialog and confirm it."""

        def answer() -> None:
            dialog = QApplication.activeModalWidget()
            if not isinstance(dialog, QFileDialog):
                QTimer.singleShot(50, answer)
                return
            for letter in str(path):
                QTest.keyClick(dialog.windowHandle(), letter)
            QTest.keyClick(dialog.windowHandle(), Qt.Key.Key_Return)

        QTimer.singleShot(50, answer)


@pytest.fixture
def person(tmp_path: Path, qapp: QApplication) -> Iterator[Person]:
    """The program as ``gui.app`` builds it, on an empty database."""
    assert QGuiApplication.platformName() == "xcb", "this suite needs a real window"
    settings = QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)
    theme.install(qapp, settings, "light")
    store = Store(tmp_path / "context.db")
    context = make_context(store, QtEngineClient(EngineClient(store.path)), settings)
    window = MainWindow(context)
    window.show()
    window.activateWindow()
    assert QTest.qWaitForWindowActive(window)
    context.client.start()
    yield Person(window)
    window.close()
    context.close()


def test_load_run_watch_stop_inspect_and_export(person: Person, tmp_path: Path) -> None:
    _load_the_example_with_a_long_pgd(person)
    first = _start_and_see_the_curve_move(person)
    _stop(person, first)
    _inspect(person)
    _export(person, tmp_path / "chart.svg")


def test_an_empty_folder_is_one_sentence_where_it_was_chosen(
    person: Person, tmp_path: Path
) -> None:
    empty = tmp_path / "pictures"
    empty.mkdir()
    person.click(person.find("Load example", QWidget))
    person.click(person.find("Name of the study", QLineEdit))
    person.press("Tab")
    person.press("Down")  # from the digits to a folder
    person.type(person.find("Path of the images", QLineEdit), str(empty))
    person.press("Ctrl+Return")
    person.until(lambda: person.heard(events.StudyRefused), "the refusal")
    assert person.window.page_id == "new"
    shown = person.until(lambda: person.window.frame("new").bar.accessibleName(), "the message")
    assert str(empty) in shown
    assert person.window.context.store.queue() == []


AUTOATTACK = """
name = "AutoAttack"
[dataset]
name = "digits"
limit = 4
[[model]]
name = "digits-resnet-at"
[[attack]]
name = "autoattack"
eps = 0.15
"""


def test_autoattack_is_followed_part_by_part_to_its_diagnostics(
    person: Person, tmp_path: Path
) -> None:
    study = tmp_path / "autoattack.toml"
    study.write_text(AUTOATTACK, "utf-8")
    person.answer_file_dialog(study)
    person.click(person.find("Open…", QWidget))
    person.until(lambda: person.window.page().count.text().endswith("= 1 run"), "the study")
    assert person.find("Estimated time", QLabel).text() == "no estimate yet"
    person.window.activateWindow()  # without a window manager nobody gives the keyboard back
    assert QTest.qWaitForWindowActive(person.window)
    person.press("Ctrl+Return")
    person.until(lambda: person.window.page_id == "live", "the Live page")
    live = person.window.page()
    seen = _watch(person, live)
    phases, images, left, points = (set(column) for column in zip(*seen, strict=True))
    assert {f"attacking: {part}" for part in ("apgd-t", "fab-t", "square")} <= phases
    assert images & {f"0 of 4 done, {holding} of 4 hold" for holding in range(1, 5)}
    assert any(":" in text for text in left), "a time left"
    assert max(points) > 100, "a curve"
    names = [line.label.toPlainText() for line in live.board.curve.marks.lines]
    assert names == ["apgd-ce", "apgd-t", "fab-t", "square"]
    shares = [event.share for event in person.heard(events.RunProgress)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    _read_the_evidence(person)


def _watch(person: Person, live: Any) -> list[tuple[str, str, str, int]]:
    """What the page shows until the run has ended: phase, images, time left, curve."""
    seen = []

    def ended() -> bool:
        values = live.board.figures.values
        texts = (values[key].text() for key in ("phase", "images", "left"))
        seen.append((*texts, _points(live)))
        return values["phase"].text() == "finished"

    person.until(ended, "the end of AutoAttack")
    return seen


def _read_the_evidence(person: Person) -> None:
    person.press("Ctrl+I")
    shown = person.until(lambda: person.find("Diagnostics", QLabel).text(), "the verdict")
    store = person.window.context.store
    (run_id,) = (row["run_id"] for row in store.queue())
    row = store.run(run_id)
    assert shown == summarise(row, lights(row, store.checks(run_id))).text
    assert f"{percent(row['robust_accuracy'])} held against autoattack" in shown
    titles = {label.text() for label in person.window.details.findChildren(QLabel)}
    assert {"Gradient exists", "Output is deterministic", "Attack note"} <= titles


def _load_the_example_with_a_long_pgd(person: Person) -> None:
    person.click(person.find("Load example", QWidget))
    person.type(person.find("PGD: steps", QWidget), "3000")
    person.until(lambda: "20 runs" in person.window.page().count.text(), "the count of runs")


def _start_and_see_the_curve_move(person: Person) -> int:
    """Run 1 is FGSM and ends at once; run 2 is the long PGD and must be seen under way."""
    person.press("Ctrl+Return")
    person.until(lambda: person.window.page_id == "live", "the Live page")
    person.until(lambda: person.heard(events.RunStarted, run_id=2), "the second run")
    live = person.window.page()
    person.until(lambda: live.run_id == 2 and _points(live) > 5, "a curve")
    before = _points(live)
    person.until(lambda: _points(live) > before + 5, "more of the curve")
    assert not person.heard(events.RunFinished, run_id=2), "the curve moved too late"
    return 2


def _points(live: Any) -> int:
    x, _ = live.board.curve.line.getData()
    return 0 if x is None else len(x)


def _stop(person: Person, run_id: int) -> None:
    person.click(person.find("Stop the queue", QWidget))
    person.until(lambda: person.heard(events.RunWaits, run_id=run_id), "the stop")
    assert not person.heard(events.WorkerDied), "it had to be killed"
    assert not person.heard(events.RunStarted, run_id=3), "the next run began"
    person.click(person.find("Resume the queue", QWidget))
    person.until(lambda: person.window.context.client.running == run_id, "the same run")
    person.window.menus.actions["skip"].trigger()
    person.until(lambda: person.heard(events.RunFinished, run_id=3), "the run after the next")
    person.press("Ctrl+2")
    person.click(person.find("Pause", QWidget))
    person.until(lambda: person.window.context.client.paused, "the pause")
    person.press("Ctrl+Period")
    person.until(lambda: person.window.context.client.running is None, "the second stop")


def _inspect(person: Person) -> None:
    person.press("Ctrl+4")
    table = person.find("Results", QTableView)
    filter_line = person.find("Filter", QLineEdit)
    person.type(filter_line, "model=digits-resnet compression=none attack=fgsm")
    person.until(lambda: table.model().rowCount() == 1, "one row")
    person.click_at(table.viewport(), table.visualRect(table.model().index(0, 0)).center())
    assert table.currentIndex().siblingAtColumn(0).data() == "1"
    person.press("Return")
    person.until(lambda: person.window.page_id == "inspector", "the Inspector")
    counter = person.window.page().position
    person.until(lambda: counter.text() == "1 of 200", "the first image")
    person.press("Right")
    person.until(lambda: counter.text() == "2 of 200", "the next image")


def _export(person: Person, path: Path) -> None:
    person.press("Ctrl+5")
    person.until(lambda: person.window.page().export_button.isEnabled(), "a chart to export")
    person.answer_file_dialog(path)
    QTimer.singleShot(100, lambda: _choose_from_popup("Figure as SVG"))
    person.press("Ctrl+E")
    person.until(path.exists, "the chart")
    assert path.read_text("utf-8").lstrip().startswith("<?xml")


def _choose_from_popup(text: str) -> None:
    menu = QApplication.activePopupWidget()
    if not isinstance(menu, QMenu):
        QTimer.singleShot(50, lambda: _choose_from_popup(text))
        return
    action = next(one for one in menu.actions() if text in one.text())
    QTest.mouseClick(
        menu,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
        menu.actionGeometry(action).center(),
    )
