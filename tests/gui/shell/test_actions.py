"""Actions: each is reachable, no two fight for a key, and the sheet shows them all."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from engine.host import paths
from engine.specs.study import Study
from gui.base import theme
from gui.base.page_context import PageContext
from gui.pages.new.page import NewPage
from gui.pages.queue.page import QueuePage
from gui.shell.actions import ACTIONS, MENUS, TEMPLATES
from gui.shell.main_window import MainWindow
from gui.shell.shortcut_sheet import ShortcutSheet
from tests.helpers.colours import ICONS
from tests.helpers.fakes import FakeEngineClient


def window_of(qtbot: QtBot, context: PageContext, page: str = "new") -> MainWindow:
    window = MainWindow(context, page)
    qtbot.addWidget(window)
    with qtbot.waitExposed(window):
        window.show()
    with qtbot.waitActive(window):
        window.activateWindow()
    return window


def test_ids_and_shortcuts_are_unique_and_real() -> None:
    ids = [action.id for action in ACTIONS]
    keys = [QKeySequence(text) for action in ACTIONS for text in action.shortcuts]
    assert len(set(ids)) == len(ids)
    assert all(not key.isEmpty() for key in keys)
    assert len({key.toString() for key in keys}) == len(keys)
    assert {action.menu for action in ACTIONS} == set(MENUS)
    assert {action.icon for action in ACTIONS} - {""} <= set(ICONS)


def test_sheet_shows_every_shortcut(qtbot: QtBot, context: PageContext) -> None:
    window = window_of(qtbot, context)
    window.show_shortcuts()
    sheet = window.findChild(ShortcutSheet)
    assert sheet is not None
    said = {label.text() for label in sheet.findChildren(QLabel)}
    for action in ACTIONS:
        if action.shortcuts:
            assert action.text in said
            assert QKeySequence(action.shortcuts[0]).toString() in said
    sheet.close()


def test_every_action_is_in_its_menu(qtbot: QtBot, context: PageContext) -> None:
    window = window_of(qtbot, context)
    for title, menu in window.menus.menus.items():
        inside = [action.text() for action in menu.actions() if not action.isSeparator()]
        assert inside == [action.text for action in ACTIONS if action.menu == title]


def test_pages_by_key(qtbot: QtBot, context: PageContext) -> None:
    window = window_of(qtbot, context)
    qtbot.keyClick(window, Qt.Key.Key_2, Qt.KeyboardModifier.ControlModifier)
    assert window.page_id == "queue"
    assert window.rail.buttons["queue"].isChecked()
    qtbot.keyClick(window, Qt.Key.Key_1, Qt.KeyboardModifier.ControlModifier)
    assert window.page_id == "new"


def test_menu_shows_what_makes_sense_now(qtbot: QtBot, context: PageContext) -> None:
    window = window_of(qtbot, context, "queue")
    run = window.menus.menus["Run"]
    run.aboutToShow.emit()
    state = {action.text(): action.isEnabled() for action in run.actions()}
    assert not state["Start the study"]
    assert not state["Stop the queue and what runs"]
    assert state["Resume the queue"]
    run.aboutToHide.emit()
    assert all(action.isEnabled() for action in run.actions())


def test_palette_finds_and_does(qtbot: QtBot, context: PageContext) -> None:
    window = window_of(qtbot, context)
    qtbot.keyClick(window, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    box = window.palette_box
    assert box.isVisible()
    qtbot.keyClicks(box.field, "theme dar")
    assert box.list.count() == 1
    qtbot.keyClick(box.field, Qt.Key.Key_Return)
    assert not box.isVisible()
    assert theme.current().mode == "dark"
    window.open_palette()
    qtbot.keyClicks(box.field, "no such thing")
    qtbot.keyClick(box.field, Qt.Key.Key_Down)
    qtbot.keyClick(box.field, Qt.Key.Key_Return)
    window.open_palette()
    qtbot.keyClicks(box.field, "queue")
    qtbot.keyClick(box.field, Qt.Key.Key_Escape)
    assert window.page_id == "new"


def test_an_action_that_makes_no_sense_does_nothing(
    qtbot: QtBot, context: PageContext, engine: FakeEngineClient
) -> None:
    window = window_of(qtbot, context)
    window.load_study(paths.example_study())
    window.show_page("queue")
    assert isinstance(window.page(), QueuePage)
    for action_id in ("start", "stop", "filter", "export", "undo", "redo"):
        window.menus.actions[action_id].trigger()
    assert window.page_id == "queue"
    assert engine.calls == []
    window.show_page("new")
    window.menus.actions["start"].trigger()
    assert [name for name, _ in engine.calls] == ["submit", "pause"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_study_that_comes_along_opens_from_the_menu(
    qtbot: QtBot, context: PageContext, name: str
) -> None:
    window = window_of(qtbot, context, "queue")
    window.menus.actions[f"study-{name}"].trigger()
    assert window.page_id == "new"
    page = window.page()
    assert isinstance(page, NewPage)
    template = paths.study_template(name)
    assert page.planned == Study.from_toml(template, absent_models=True)
    if name.endswith("digits"):
        assert page.study == Study.from_toml(template)
    else:  # its models are not in an empty library: said, with the way to them
        assert page.study is None
        assert "not in the library" in page.verdict.text()
        for absent in page.data.model_list.absent():
            assert (
                f"crumple train … --name {absent}"
                in page.data.model_list._absent[absent].note.text()
            )


def test_every_study_that_comes_along_has_an_entry() -> None:
    files = {file.stem for file in paths.example_study().parent.glob("*.toml")}
    assert files == {"example", *TEMPLATES}
