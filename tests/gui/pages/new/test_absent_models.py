"""A study opens whose models are not here yet: what would run is seen, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QUndoStack
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from engine import catalog
from engine.host import paths
from engine.specs.study import Study
from gui.base import file_dialogs
from gui.base.page_context import PageContext
from gui.pages.new.page import NewPage
from tests.helpers.library import put_model

TEMPLATE = paths.study_template("paper-cifar10")
ABSENT = ("resnet-18-at", "wrn-34-10-trades", "resnet-18-standard")
CARD = {"architecture": "resnet-18", "dataset": "cifar10", "shape": (3, 32, 32)}


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "models"
    folder.mkdir()
    catalog.use_library(folder)
    yield folder
    catalog.use_library(None)


@pytest.fixture
def page(qtbot: QtBot, context: PageContext, library: Path) -> NewPage:
    page = NewPage(context)
    qtbot.addWidget(page)
    page.show()
    page.load(TEMPLATE)
    return page


def test_what_would_run_is_seen_and_cannot_be_started(page: NewPage) -> None:
    planned = Study.from_toml(TEMPLATE, absent_models=True)
    assert page.data.model_list.ticked() == ["resnet-18-at"]
    assert page.data.model_list.absent() == ["resnet-18-at"]
    assert page.plan.model.rowCount() == planned.count() > 0
    assert page.plan.model.index(0, 0).data() == "resnet-18-at"
    assert page.count.text().endswith(f"= {planned.count()} runs")
    said = page.verdict.text()
    assert all(name in said for name in ABSENT)
    assert "not in the library" in said
    assert page.estimate.isVisibleTo(page)
    assert page.study is None
    assert not page.start_button.isEnabled()
    assert not page.queue_button.isEnabled()


def test_it_is_saved_as_it_was_opened(
    page: NewPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_dialogs, "ask_save", lambda *_: tmp_path / "again.toml")
    page.ask_save()
    again = Study.from_toml(tmp_path / "again.toml", absent_models=True)
    assert again.runs() == Study.from_toml(TEMPLATE, absent_models=True).runs()


def test_it_can_be_started_when_the_models_have_come(page: NewPage, library: Path) -> None:
    put_model(library, "resnet-18-at", **CARD)
    page.refresh()
    assert page.data.model_list.absent() == []
    assert page.study is None
    assert "wrn-34-10-trades and resnet-18-standard are not" in page.verdict.text()
    for name in ABSENT[1:]:
        put_model(library, name, **CARD)
    page.refresh()
    assert page.data.model_list.absent() == []
    assert page.data.models["resnet-18-at"].isChecked()
    assert page.study == Study.from_toml(TEMPLATE)
    assert page.start_button.isEnabled()


def test_without_its_tick_another_model_takes_its_place(page: NewPage) -> None:
    box = page.data.model_list._absent["resnet-18-at"].box
    QTest.mouseClick(box, Qt.MouseButton.LeftButton, pos=box.rect().center())
    assert page.data.model_list.ticked() == []
    assert page.verdict.text().startswith("No model is chosen")
    page.data.model_list.tick("digits-resnet")
    assert page.data.model_list.absent() == []
    assert page.planned is not None


def test_undo_brings_it_back(page: NewPage) -> None:
    stack = QUndoStack()
    page.change.connect(stack.push)
    page.load(paths.example_study())
    assert page.data.model_list.absent() == []
    assert page.study is not None
    stack.undo()
    assert page.data.model_list.absent() == ["resnet-18-at"]
    assert page.study is None
    stack.redo()
    assert page.data.model_list.absent() == []


def test_a_model_that_came_before_the_study_is_here(
    qtbot: QtBot, context: PageContext, library: Path
) -> None:
    page = NewPage(context)
    qtbot.addWidget(page)
    for name in ABSENT:
        put_model(library, name, **CARD)
    page.load(TEMPLATE)
    assert page.data.model_list.absent() == []
    assert page.start_button.isEnabled()


def test_what_a_file_calls_a_model_is_text_and_no_command(page: NewPage, tmp_path: Path) -> None:
    name = "<b>x</b>; rm -rf ~"
    file = tmp_path / "study.toml"
    file.write_text(TEMPLATE.read_text("utf-8").replace("resnet-18-at", name), "utf-8")
    page.load(file)
    note = page.data.model_list._absent[name].note
    assert "crumple train" not in note.text()
    for label in (note, page.verdict):
        assert label.textFormat() == Qt.TextFormat.PlainText


@pytest.mark.parametrize("path", sorted(TEMPLATE.parent.glob("*.toml")), ids=lambda one: one.stem)
def test_every_template_opens(page: NewPage, path: Path) -> None:
    page.load(path)
    assert page.planned is not None
    assert page.planned.name == Study.from_toml(path, absent_models=True).name
