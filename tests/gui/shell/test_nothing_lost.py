"""A draft that is replaced comes back, and nothing that works ends without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QMessageBox, QPushButton
from pytestqt.qtbot import QtBot

from engine import events
from engine.host import paths
from engine.specs.study import Study
from gui.base import file_dialogs
from gui.base.page_context import PageContext
from gui.bridge.download_process import DownloadProcess
from gui.bridge.import_process import ImportProcess
from gui.pages.new.recipe_block import RecipeBlock
from gui.shell.main_window import MainWindow
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.page_kit import Tell

STARTED = events.RunStarted(run_id=20, model="digits-resnet-at", method="ptq w2 · fgsm", total=60)


@pytest.fixture
def window(qtbot: QtBot, full_context: PageContext) -> MainWindow:
    window = MainWindow(full_context, "new")
    qtbot.addWidget(window)
    window.show()
    return window


@pytest.fixture
def draft(window: MainWindow) -> dict[str, Any]:
    """What a person has put together in New."""
    page = window._new_page()
    page.data.models["digits-resnet"].click()
    page.data.name.setText("Mine")
    page.attacks.block("pgd").box.click()
    page.compressions.add_recipe()
    recipe = page.compressions.findChild(RecipeBlock)
    assert recipe is not None
    recipe.add_button.click()
    return page.draft()


def _open_a_file(window: MainWindow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_dialogs, "ask_open", lambda *_: paths.example_study())
    window.menus.actions["open"].trigger()


WAYS: dict[str, Callable[[MainWindow, pytest.MonkeyPatch], None]] = {
    "the example": lambda window, _: window.menus.actions["example"].trigger(),
    "its button": lambda window, _: window._new_page().example.click(),
    "an empty study": lambda window, _: window.menus.actions["new"].trigger(),
    "a file": _open_a_file,
    "a dropped file": lambda window, _: window.models._take([paths.example_study()]),
    "a model": lambda window, _: window.use_model("digits-resnet-at", {"name": "digits"}),
    "a study of a page": lambda window, _: window.show_page(
        "new", Study.from_toml(paths.example_study())
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_replaced_draft_comes_back(
    window: MainWindow, draft: dict[str, Any], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    page, stack = window._new_page(), window.undo_stack
    WAYS[way](window, monkeypatch)
    other = page.draft()
    assert other != draft
    assert window.toast.message is not None
    assert window.toast.message.button == "Undo"
    page.data.name.setText("typed since")
    stack.undo()
    assert page.draft() == draft
    stack.redo()
    assert page.draft() == other | {"name": "typed since"}
    window.menus.actions["undo"].trigger()
    assert page.draft() == draft
    assert window.toast.message is not None
    assert window.toast.message.text.startswith("Undone: replace the draft by")
    window.menus.actions["redo"].trigger()
    page.replaced.emit("Another", lambda: page.replace(draft, "the draft of before"))
    window.toast._action.click()
    assert page.draft() == draft
    stack.undo()
    assert page.draft() == other | {"name": "typed since"}


def test_older_edits_of_a_recipe_can_still_be_undone(
    window: MainWindow, draft: dict[str, Any]
) -> None:
    window.load_study(paths.example_study())
    window.undo_stack.undo()
    assert [len(table["steps"]) for table in window._new_page().draft()["compression"]] == [2]
    window.undo_stack.undo()  # the step that was added before
    assert [len(table["steps"]) for table in window._new_page().draft()["compression"]] == [1]


def test_an_empty_draft_is_replaced_without_ado(window: MainWindow) -> None:
    window.load_study(paths.example_study())
    assert window.toast.message is None
    count = window.undo_stack.count()
    window.load_study(paths.example_study())
    assert window.undo_stack.count() == count, "the same study again is no change"


# -- stopping ------------------------------------------------------------------------------


def test_stop_stops_the_queue_and_says_so(
    window: MainWindow, full_context: PageContext, tell: Tell, engine: FakeEngineClient
) -> None:
    tell(full_context, events.QueueChanged(paused=False), STARTED)
    window.show_page("live")
    window.status.stop_button.click()
    assert engine.calls == [("halt", None)]
    paused = events.QueueChanged(paused=True)
    tell(full_context, paused, events.RunCancelled(run_id=20), events.RunWaits(run_id=20))
    message = window.toast.message
    assert message is not None
    assert "Run 20 was stopped, and the queue is paused" in message.text
    window.page().draw()
    assert "stopped; it waits in the queue" in window.page().board.figures.values["phase"].text()
    window.toast._action.click()
    assert engine.calls[-1] == ("pause", False)


def test_skipping_goes_on_with_the_next(
    window: MainWindow, full_context: PageContext, tell: Tell, engine: FakeEngineClient
) -> None:
    window.menus.actions["skip"].trigger()
    assert engine.calls == []
    tell(full_context, STARTED)
    window.menus.actions["skip"].trigger()
    assert engine.calls == [("cancel", [20])]


# -- closing -------------------------------------------------------------------------------


def _answer(window: MainWindow, text: str) -> str:
    """Press a button of the question; gives what was asked."""
    box = window._question
    assert isinstance(box, QMessageBox)
    asked = box.informativeText()
    next(button for button in box.findChildren(QPushButton) if button.text() == text).click()
    return asked


def test_closing_while_a_run_works_asks(
    qtbot: QtBot, window: MainWindow, full_context: PageContext, tell: Tell
) -> None:
    tell(full_context, STARTED)
    window.menus.actions["quit"].trigger()
    assert window.isVisible()
    assert "Run 20 is running" in _answer(window, "Stay")
    qtbot.waitUntil(lambda: window._question is None)
    assert window.isVisible()
    window.close()
    _answer(window, "Quit and continue later")
    assert not window.isVisible()


def test_closing_while_nothing_works_does_not_ask(
    window: MainWindow, full_context: PageContext, tell: Tell
) -> None:
    tell(full_context, STARTED, events.RunCancelled(run_id=20))
    window.close()
    assert not window.isVisible()


def test_imports_downloads_and_plans_are_asked_about_too(
    window: MainWindow, full_context: PageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImportProcess, "start", lambda _self: None)
    monkeypatch.setattr(DownloadProcess, "start", lambda _self: None)
    window.models.import_model("net.pt")
    assert window.models.dialog is not None
    window.models.dialog.run([])
    window._new_page().data.location.start([])
    full_context.client.planning.submitted("Mine")
    window.close()
    assert window.isVisible()
    asked = _answer(window, "Quit and continue later")
    for word in ("imported", "downloaded", "“Mine” is still being planned"):
        assert word in asked
    assert not window.isVisible()


# -- between Start and the first attack ----------------------------------------------------


def _said(window: MainWindow, page_id: str) -> str:
    window.show_page(page_id)
    page = window.page()
    if page_id == "queue":
        return str(page.summary.text() or page.empty.text.text())
    return str(page.stack.currentWidget().text.text()) if page.planning.isVisible() else ""


def test_what_is_planned_is_told_until_the_first_run(
    window: MainWindow, full_context: PageContext, tell: Tell
) -> None:
    study = Study.from_toml(paths.example_study())
    full_context.client.start()
    full_context.client.submit(study)

    def told(words: str) -> None:
        assert words in window.status.job.text()
        assert words.lower() in _said(window, "live").lower()
        assert words in _said(window, "queue")

    told("starting the engine")
    tell(full_context, events.WorkerReady(pid=1, device="cpu", description="CPU"))
    told("reading the images")
    queued = events.StudyQueued(study_id=1, name=study.name, run_ids=(1, 2, 3), reused=1)
    tell(full_context, queued, events.QueueChanged(paused=True))
    assert full_context.client.planning.words() == "", "a paused queue prepares nothing"
    tell(full_context, events.QueueChanged(paused=False))
    told("2 runs queued: preparing the first one")
    tell(full_context, STARTED)
    assert full_context.client.planning.words() == ""
    assert not window.frame("live").page.planning.isVisible()


def test_a_plan_ends_with_a_refusal_or_the_second_death(
    full_context: PageContext, tell: Tell
) -> None:
    study = Study.from_toml(paths.example_study())
    planning = full_context.client.planning
    full_context.client.submit(study)
    tell(full_context, events.StudyRefused(name=study.name, message="No."))
    assert planning.words() == ""
    full_context.client.submit(study)
    died = events.WorkerDied(reason="It died.")
    tell(full_context, died)
    assert "starting the engine" in planning.words(), "the next process is told again"
    tell(full_context, died)
    assert planning.words() == ""


def test_a_file_that_cannot_be_read_leaves_the_draft(
    window: MainWindow, draft: dict[str, Any], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("name = ", "utf-8")
    window.load_study(bad)
    assert window._new_page().draft() == draft
