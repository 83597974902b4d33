"""What is typed or dropped into a field changes that field and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication, QKeySequence, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QTableView,
    QWidget,
)
from pytestqt.qtbot import QtBot

from engine import catalog
from engine.host import paths
from engine.store.artifacts import models_of
from gui.base.page_context import PageContext
from gui.pages import PAGES
from gui.pages.new.method_group import SearchLine
from gui.shell.main_window import MainWindow
from gui.widgets.inputs import takes_text
from gui.widgets.message_bar import Message
from tests.helpers.fake_results import FakeResults
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.file_drops import dropped
from tests.helpers.library import put_model

GUI = Path(__file__).parents[3] / "gui"
KEYS = (
    *("Return", "Enter", "Del", "Backspace", "Space", "Esc", "T", "J", "*", "+", "-"),
    *("Left", "Right", "Up", "Down", "Home", "End", "PgUp", "PgDown"),
    *("Ctrl+A", "Ctrl+C", "Ctrl+X", "Ctrl+V", "Ctrl+Z", "Ctrl+Shift+Z", "Ctrl+Y", "Shift+Return"),
)
_APPLIES = [("Tags of the selected runs", key) for key in ("Return", "Enter", "Shift+Return")]
ON_PURPOSE = {("Search", "Return"), ("Search", "Enter"), *_APPLIES}
"""Fields by the beginning of their names in which a key is announced to do more."""

_ASKED = ("model", "compression", "attack")
PLACES = (*PAGES, "library", "import")


@pytest.fixture
def window(qtbot: QtBot, full_context: PageContext) -> Iterator[MainWindow]:
    """Everything that has fields, with something in it to lose."""
    folder = models_of(full_context.store.path)
    catalog.use_library(folder)
    put_model(folder, "mine", source={"file": "thesis.pt2", "sha256": "cd" * 32})
    window = MainWindow(full_context, "new")
    qtbot.addWidget(window)
    window.resize(1280, 720)
    with qtbot.waitActive(window):
        window.show()
        window.activateWindow()
    window.load_study(paths.example_study())
    window.details.setVisible(window.details.isHidden())
    yield window
    window.models.close()


def go(qtbot: QtBot, window: MainWindow, place: str, results: FakeResults) -> QWidget:
    """Show a page or a dialog with a run or a model chosen; gives its window."""
    shown: QWidget = window
    match place:
        case "library":
            window.models.show_library("mine")
            assert window.models.library is not None
            shown = window.models.library
            window.models.library.message.show_message(Message("Gone?", button="Erase"))
        case "import":
            window.models.import_model("net.py")
            assert window.models.dialog is not None
            shown = window.models.dialog
            window.models.dialog.form.more.open(True)
        case _:
            window.show_page(place, [results.flagged] if place in ("runs", "compare") else None)
            window.details.show_runs([results.flagged])
    if place == "new":
        window._new_page().compressions.add_recipe()
    if place == "runs":
        window.page()._start_tagging()
    qtbot.waitUntil(lambda: _active(shown))
    return shown


def _active(shown: QWidget) -> bool:
    shown.activateWindow()
    QApplication.processEvents()
    return QApplication.activeWindow() is shown


def fields(shown: QWidget) -> list[QWidget]:
    """One of each kind of field that can be seen."""
    kinds: dict[Any, QWidget] = {}
    for widget in shown.findChildren(QWidget):
        part = isinstance(widget.parentWidget(), QAbstractSpinBox | QComboBox)
        if isinstance(widget, QLineEdit | QPlainTextEdit | QAbstractSpinBox) and not part:
            inside = widget.window() is shown.window() and widget.isVisible() and widget.isEnabled()
            if inside and widget.focusPolicy() != Qt.FocusPolicy.NoFocus:
                kinds.setdefault(
                    (type(widget), type(widget.parentWidget()), widget.objectName()), widget
                )
    return list(kinds.values())


def _parts(one: QWidget) -> set[int]:
    return {id(one), *(id(part) for part in one.findChildren(QWidget))}


def state(window: MainWindow, field: QWidget) -> dict[str, Any]:
    """Everything that a key in this field has no business with."""
    parts, values = _parts(field), {}
    tops = [widget for widget in QApplication.topLevelWidgets() if widget.isVisible()]
    for top in tops:
        for widget in top.findChildren(QWidget):
            if id(widget) in parts:
                continue
            key = f"{type(widget).__name__} {widget.accessibleName()} {id(widget)}"
            if isinstance(widget, QAbstractButton) and widget.isCheckable():
                values[key] = widget.isChecked()
            elif isinstance(widget, QComboBox):
                values[key] = widget.currentText()
            elif isinstance(widget, QLineEdit):
                values[key] = widget.text()
            elif isinstance(widget, QPlainTextEdit):
                values[key] = widget.toPlainText()
            elif isinstance(widget, QAbstractItemView) and widget.selectionModel():
                chosen = [(at.row(), at.column()) for at in widget.selectedIndexes()]
                values[f"{key} of {widget.model().rowCount()}"] = chosen
    store, draft = window.context.store, window._new_page().draft()
    asked = {key: [table.get("name") for table in draft[key]] for key in _ASKED}
    return {
        "widgets": values,
        **asked,
        "windows": sorted(type(widget).__name__ for widget in tops),
        "page": window.page_id,
        "runs": [(row["run_id"], row["status"]) for row in store.queue()],
        "models": sorted(catalog.section("models")),
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What has changed; widgets may come and go with a search, what they hold must stay."""
    old, new = before.pop("widgets"), after.pop("widgets")
    pairs = {name: (old[name], new[name]) for name in old.keys() & new.keys()}
    pairs |= {name: (before[name], after[name]) for name in before}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _text(field: QWidget) -> str:
    return field.toPlainText() if isinstance(field, QPlainTextEdit) else field.text()  # type: ignore[attr-defined]


def _on_purpose(field: QWidget, key: str) -> bool:
    name = field.accessibleName()
    return any(name.startswith(start) and key == end for start, end in ON_PURPOSE) and (
        not name.startswith("Search") or isinstance(field, SearchLine)
    )


@pytest.mark.parametrize("place", PLACES)
def test_keys_in_a_field_change_nothing_else(
    qtbot: QtBot,
    window: MainWindow,
    results: FakeResults,
    engine: FakeEngineClient,
    place: str,
) -> None:
    shown = go(qtbot, window, place, results)
    for field in fields(shown if place in ("runs", "library", "import") else window.page()):
        if not takes_text(field):
            continue
        for key in (key for key in KEYS if not _on_purpose(field, key)):
            field.setFocus()
            QGuiApplication.clipboard().setText("1")
            before, calls, text = state(window, field), list(engine.calls), _text(field)
            press = QKeySequence(key)[0]
            QTest.keyClick(field, press.key(), press.keyboardModifiers())
            name = f"{key} in {type(field).__name__} {field.accessibleName()!r}"
            after = state(window, field)
            if field.accessibleName().startswith(("Search", "Filter")) and _text(field) != text:
                before["widgets"] = after["widgets"] = {}  # another search shows other things
            assert differences(before, after) == {}, name
            assert engine.calls == calls, name
            copied = QGuiApplication.clipboard().text()
            assert copied == "1" or key in ("Ctrl+C", "Ctrl+X"), name
            assert "\t" not in copied, f"{name} copied a table"


@pytest.mark.parametrize("place", ["runs", "queue", "library"])
def test_the_keys_of_a_table_belong_to_the_table(
    qtbot: QtBot,
    window: MainWindow,
    results: FakeResults,
    engine: FakeEngineClient,
    place: str,
) -> None:
    """Del on a button or a choice beside it hides, cancels and deletes nothing."""
    shown = go(qtbot, window, place, results)
    inside = shown if place == "library" else window.page()
    inside.findChild(QTableView).selectRow(0)
    controls = [
        widget
        for widget in inside.findChildren(QWidget)
        if isinstance(widget, QAbstractButton | QComboBox)
        and widget.isVisible()
        and widget.isEnabled()
    ]
    assert len(controls) >= 3
    for control in controls:
        control.setFocus()
        before = state(window, control), list(engine.calls)
        QTest.keyClick(control, Qt.Key.Key_Delete)
        if not isinstance(control, QComboBox):  # which looks for an entry that begins so
            QTest.keyClicks(control, "t*")
        assert (state(window, control), list(engine.calls)) == before, control.accessibleName()


def test_every_place_but_some_has_fields(
    qtbot: QtBot, window: MainWindow, results: FakeResults
) -> None:
    """The test above looks at something."""
    for place in ("new", "library", "import"):
        assert len(fields(go(qtbot, window, place, results))) >= 3, place


def test_shortcuts_and_fields_are_made_in_one_place() -> None:
    """``QShortcut(context=...)`` is ignored, and plain fields take files for text."""
    made = re.compile(r"\b(QShortcut|QLineEdit|QPlainTextEdit|QSpinBox|QDialog)\(|\(QDialog\)")
    made_here = {
        f"{file.relative_to(GUI)}: {match[0]}"
        for file in GUI.rglob("*.py")
        for match in made.finditer(file.read_text("utf-8"))
        if file.name not in ("inputs.py", "dialog.py")
    }
    assert not made_here


@pytest.mark.parametrize("place", PAGES)
def test_a_study_dropped_on_any_field_is_opened(
    qtbot: QtBot, window: MainWindow, results: FakeResults, tmp_path: Path, place: str
) -> None:
    file = tmp_path / "dropped.toml"
    file.write_text(paths.example_study().read_text("utf-8").replace("name = ", "name = ", 1))
    shown = go(qtbot, window, place, results)
    for field in fields(shown):
        if field.accessibleName() == "Path of the images" or not field.isVisible():
            continue
        before = field.text() if isinstance(field, QLineEdit) else ""
        where = field.lineEdit() if hasattr(field, "lineEdit") else field
        inner = field.viewport() if isinstance(field, QPlainTextEdit) else where
        assert dropped(inner, file), field.accessibleName()
        assert window.page_id == "new"
        assert "file:" not in (field.text() if isinstance(field, QLineEdit) else before)
        window.show_page(place, [results.flagged] if place in ("runs", "compare") else None)


def test_a_path_field_takes_the_path(qtbot: QtBot, window: MainWindow, tmp_path: Path) -> None:
    window.models.import_model()
    dialog = window.models.dialog
    assert dialog is not None
    assert dropped(dialog.form.file, tmp_path)
    assert dialog.form.file.text() == str(tmp_path)
    assert dropped(dialog.form.limit.lineEdit(), tmp_path / "net.pt")
    assert dialog.form.file.text() == str(tmp_path / "net.pt")
    assert dialog.form.limit.value() == 0


def test_the_wheel_over_a_field_scrolls_the_column(qtbot: QtBot, window: MainWindow) -> None:
    with qtbot.waitActive(window):
        window.activateWindow()
    data = window._new_page().data
    data.name.setFocus()
    for field in (data.limit, data.dataset):
        before = data.limit.value(), data.dataset.currentIndex()
        for _ in range(3):
            wheel = QWheelEvent(
                QPointF(5, 5),
                field.mapToGlobal(QPointF(5, 5)),
                QPoint(),
                QPoint(0, -120),
                Qt.MouseButton.NoButton,
                Qt.KeyboardModifier.NoModifier,
                Qt.ScrollPhase.NoScrollPhase,
                False,
            )
            QApplication.sendEvent(field, wheel)
        assert (data.limit.value(), data.dataset.currentIndex()) == before


def test_escape_forgets_what_was_typed_and_keeps_the_window(
    qtbot: QtBot, window: MainWindow, results: FakeResults
) -> None:
    shelf = go(qtbot, window, "library", results)
    card = window.models.library.card  # type: ignore[union-attr]
    before = card.title.text()
    card.title.setFocus()
    card.title.selectAll()
    QTest.keyClicks(card.title, "something else")
    QTest.keyClick(card.title, Qt.Key.Key_Escape)
    assert shelf.isVisible()
    assert card.title.text() == before
    assert catalog.model_card("mine").title == before
    QTest.keyClick(QApplication.focusWidget() or shelf, Qt.Key.Key_Escape)
    assert not shelf.isVisible()
