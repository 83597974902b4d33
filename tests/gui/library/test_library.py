"""File > Models: found, starred, renamed, deleted and brought back; and what New makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QLabel
from pytestqt.qtbot import QtBot

from engine import catalog
from engine.catalog.models import library
from engine.catalog.models.published import published
from engine.host import paths
from engine.store.artifacts import models_of
from gui.base.page_context import PageContext
from gui.library.favourites import Favourites
from gui.library.library_model import STAR
from gui.library.library_window import LibraryWindow
from gui.pages.new.page import NewPage
from gui.pages.runs.page import RunsPage
from gui.shell.main_window import MainWindow
from gui.widgets.note_line import NoteLine
from tests.helpers.fake_results import FakeResults
from tests.helpers.library import put_model
from tests.helpers.new_page import choose_dataset
from tests.helpers.screen_reader import nameless


@pytest.fixture
def folder(full_context: PageContext) -> Path:
    """The library of ``full_context``: one healthy model and one that is not."""
    folder = models_of(full_context.store.path)
    catalog.use_library(folder)
    source = {"file": "thesis.pt2", "sha256": "cd" * 32}
    put_model(folder, "mine", source=source, masked=("0", "3.conv1"))
    put_model(folder, "sick", title="Sick one", healthy=False, clean_accuracy=0.11)
    return folder


@pytest.fixture
def window(qtbot: QtBot, full_context: PageContext, folder: Path) -> MainWindow:
    window = MainWindow(full_context, "new")
    qtbot.addWidget(window)
    window.show()
    window.models.show_library()
    with qtbot.waitActive(shelf(window)):
        shelf(window).activateWindow()
    return window


def shelf(window: MainWindow) -> LibraryWindow:
    assert window.models.library is not None
    return window.models.library


def listed(window: MainWindow, column: int = 1) -> list[str]:
    proxy = shelf(window).proxy
    return [proxy.index(row, column).data() for row in range(proxy.rowCount())]


def look_through(window: MainWindow, origin: str) -> None:
    box = shelf(window).origin
    box.setCurrentIndex(box.findData(origin))
    box.activated.emit(box.currentIndex())


def card_text(window: MainWindow) -> str:
    return "\n".join(label.text() for label in shelf(window).card.findChildren(QLabel))


def visible_buttons(window: MainWindow) -> set[str]:
    return {key for key, button in shelf(window).card.buttons.items() if button.isVisible()}


def new_page(window: MainWindow) -> NewPage:
    page = window.frame("new").page
    assert isinstance(page, NewPage)
    return page


# -- looking -------------------------------------------------------------------------------


def test_bundled_and_own_models_are_listed_with_where_they_are_used(
    window: MainWindow, results: FakeResults
) -> None:
    rows = dict(zip(listed(window), listed(window, 7), strict=True))
    assert rows == {
        "Digits ResNet, adversarially trained": "10",
        "Digits ResNet": "10",
        "Mine": "0",
        "Sick one": "0",
    }
    shelf(window).select("digits-resnet")
    assert "10 runs in 1 study" in card_text(window)


def test_search_and_origin_narrow_down(window: MainWindow) -> None:
    shelf(window).search.setText("imported THESIS")
    assert listed(window) == ["Mine"]
    shelf(window).search.clear()
    look_through(window, "bundled")
    assert len(listed(window)) == 2
    look_through(window, "imported")
    assert listed(window) == ["Mine", "Sick one"]
    shelf(window).search.setText("not healthy")
    assert listed(window) == ["Sick one"]
    look_through(window, "trained")
    assert listed(window) == []
    assert visible_buttons(window) == set()
    shelf(window).select("mine")
    assert listed(window)[2:] == ["Mine", "Sick one"]
    assert shelf(window).selected().offer.key == "mine"  # type: ignore[union-attr]


def test_the_card_tells_everything(window: MainWindow) -> None:
    shelf(window).select("mine")
    text = card_text(window)
    for part in ("thesis.pt2", "cd" * 16, "0" * 32, "2026-01-01 imported", "85.0% to 94.0%"):
        assert part in text
    assert "1x8x8" in text
    assert "on 2 layers, from its file" in text
    shelf(window).select("sick")
    assert "from its file" not in card_text(window)
    assert nameless(shelf(window)) == []


def test_published_weights_lead_to_the_import(window: MainWindow) -> None:
    look_through(window, "published")
    shelf(window).search.setText("torchvision.resnet18")
    assert listed(window) == ["torchvision.resnet18"]
    assert visible_buttons(window) == {"download"}
    shelf(window).card.buttons["download"].click()
    dialog = window.models.dialog
    assert dialog is not None
    one = next(model for model in published() if model.name == "torchvision.resnet18")
    assert dialog.form.options()[0] == "torchvision.resnet18"
    assert dialog.form.images() == {"name": "imagenet", "resize": one.resize, "crop": one.crop}
    dialog.close()


def test_what_is_downloaded_is_no_longer_to_be(window: MainWindow, folder: Path) -> None:
    made = {"origin": "downloaded", "architecture": "torchvision.resnet18", "classes": 1000}
    put_model(folder, "r18", **made)
    shelf(window).refresh()
    look_through(window, "published")
    assert "torchvision.resnet18" not in listed(window)
    assert "torchvision.resnet34" in listed(window)
    look_through(window, "downloaded")
    assert listed(window) == ["R18"]


# -- stars and words -----------------------------------------------------------------------


def test_stars_stand_first_and_survive(
    qtbot: QtBot, window: MainWindow, full_context: PageContext
) -> None:
    shelf(window).select("sick")
    table = shelf(window).table
    cell = table.visualRect(table.currentIndex().siblingAtColumn(STAR)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=cell)
    assert listed(window)[0] == "Sick one"
    assert shelf(window).selected().offer.key == "sick"  # type: ignore[union-attr]
    assert Favourites(full_context.settings).ids() == {"sick"}
    look_through(window, "favourites")
    assert listed(window) == ["Sick one"]
    qtbot.keyClick(table, Qt.Key.Key_Asterisk)
    assert listed(window) == []
    assert Favourites(full_context.settings).ids() == set()


@pytest.mark.parametrize("kept", ["no json", "3", "{}"])
def test_settings_of_another_version_have_no_stars(full_context: PageContext, kept: str) -> None:
    full_context.settings.setValue("models/favourites", kept)
    assert Favourites(full_context.settings).ids() == set()


def test_title_and_remark_are_changed_and_undone(qtbot: QtBot, window: MainWindow) -> None:
    shelf(window).select("mine")
    view = shelf(window).card
    view.title.setFocus()
    view.title.selectAll()
    qtbot.keyClicks(view.title, "My thesis")
    qtbot.keyClick(view.title, Qt.Key.Key_Return)
    view.remark.setFocus()
    qtbot.keyClicks(view.remark, "Chapter 4")
    shelf(window).table.setFocus()
    card = catalog.model_card("mine")
    assert (card.title, card.remark) == ("My thesis", "Chapter 4")
    assert "My thesis" in listed(window)
    assert new_page(window).data.models["mine"].text() == "My thesis"
    qtbot.keyClick(shelf(window).table, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClick(shelf(window).table, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    card = catalog.model_card("mine")
    assert (card.title, card.remark) == ("Mine", "")
    assert view.title.text() == "Mine"


def test_bundled_models_can_only_be_read(window: MainWindow) -> None:
    shelf(window).select("digits-resnet")
    assert shelf(window).card.title.isReadOnly()
    assert not shelf(window).card.remark.isVisible()
    assert visible_buttons(window) == {"use", "runs"}
    shelf(window)._asked("delete")
    assert "digits-resnet" in catalog.section("models")


# -- deleting ------------------------------------------------------------------------------


def test_deleting_is_undone_by_key(qtbot: QtBot, window: MainWindow, folder: Path) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    shelf(window).select("mine")
    qtbot.keyClick(shelf(window).table, Qt.Key.Key_Delete)
    assert "Mine" not in listed(window)
    assert "mine" not in new_page(window).data.models
    assert not (folder / "mine.safetensors").exists()
    assert "its results stay" in shelf(window).message.accessibleName()
    qtbot.keyClick(shelf(window), Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert "Mine" in listed(window)
    assert "mine" in new_page(window).data.models
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_model_that_waits_in_the_queue_stays(
    window: MainWindow, full_context: PageContext
) -> None:
    with full_context.store.db.atomic():
        full_context.store.db.execute("UPDATE runs SET model = 'mine' WHERE status = 'waiting'")
    shelf(window).select("mine")
    shelf(window).card.buttons["delete"].click()
    assert "cannot be deleted: 1 run that uses it waits" in shelf(window).message.accessibleName()
    assert "mine" in catalog.section("models")
    assert not window.undo_stack.canUndo()


def test_redoing_looks_at_the_queue_again(window: MainWindow, full_context: PageContext) -> None:
    shelf(window).select("mine")
    shelf(window).card.buttons["delete"].click()
    window.undo_stack.undo()
    with full_context.store.db.atomic():
        full_context.store.db.execute("UPDATE runs SET model = 'mine' WHERE status = 'waiting'")
    window.undo_stack.redo()
    assert "mine" in catalog.section("models")
    assert "cannot be deleted" in shelf(window).message.accessibleName()


def test_an_undo_that_cannot_be_is_told_where_it_is_seen(window: MainWindow, folder: Path) -> None:
    shelf(window).select("mine")
    shelf(window).card.buttons["delete"].click()
    put_model(folder, "mine", title="Another")
    shelf(window).close()
    window.undo_stack.undo()
    assert window.toast.message is not None
    assert "'mine' already" in window.toast.message.text
    assert catalog.model_card("mine").title == "Another"
    window.toast.clear()


def test_the_trash_gives_back_and_erases(window: MainWindow, folder: Path) -> None:
    for id_ in ("mine", "sick"):
        shelf(window).select(id_)
        shelf(window).card.buttons["delete"].click()
    look_through(window, "deleted")
    assert sorted(listed(window)) == ["Mine", "Sick one"]
    assert visible_buttons(window) == {"restore", "erase"}
    shelf(window).search.setText("sick")
    shelf(window).card.buttons["erase"].click()
    assert len(library.trashed(folder)) == 2, "it asks first"
    shelf(window).message._action.click()
    assert [model.card.id for model in library.trashed(folder)] == ["mine"]
    shelf(window).search.clear()
    shelf(window).card.buttons["restore"].click()
    assert "mine" in catalog.section("models")
    window.undo_stack.undo()
    assert "mine" not in catalog.section("models")


# -- with the pages ------------------------------------------------------------------------


def test_a_model_goes_to_new(window: MainWindow) -> None:
    window.show_page("queue")
    choose_dataset(new_page(window), "cifar10")
    shelf(window).select("mine")
    shelf(window).card.buttons["use"].click()
    assert window.page_id == "new"
    tables = new_page(window).data.tables()
    assert tables["model"] == [{"name": "mine"}]
    assert tables["dataset"] == {"name": "digits"}, "what it was measured on"
    assert tables["name"] == "Mine"


def test_its_runs_are_shown(window: MainWindow) -> None:
    shelf(window).select("digits-resnet-at")
    shelf(window).card.buttons["runs"].click()
    assert window.page_id == "runs"
    page = window.page()
    assert isinstance(page, RunsPage)
    shown = page.table.runs.table.rows(page.table.runs.order)
    assert len(shown) == 10
    assert {row["model"] for row in shown} == {"digits-resnet-at"}


def test_new_opens_library_and_import(qtbot: QtBot, window: MainWindow) -> None:
    shelf(window).close()
    buttons = new_page(window).data.model_list.buttons
    buttons["models"].click()
    assert shelf(window).isVisible()
    buttons["import"].click()
    assert window.models.dialog is not None
    window.models.dialog.close()


def notes(page: NewPage, model_id: str) -> dict[str, str]:
    """The visible notes below a model: health and fit."""
    block = page.data.model_list._blocks[model_id]
    lines = (block.health, block.fit)
    return {("health", "fit")[i]: one.text() for i, one in enumerate(lines) if one.isVisible()}


def test_new_says_what_is_wrong_with_a_model(window: MainWindow, tmp_path: Path) -> None:
    page = new_page(window)
    assert notes(page, "mine") == {}
    assert list(notes(page, "sick")) == ["health"]
    choose_dataset(page, "svhn")
    said = notes(page, "mine")["fit"]
    assert "32x32 colour" in said
    assert "8x8 grey" in said
    file = tmp_path / "a.npz"
    np.savez(file, x=np.zeros((12, 8, 8, 1), np.uint8), y=np.arange(12))
    choose_dataset(page, "npz")
    assert "fit" not in notes(page, "mine")
    page.data.location.path.setText(str(file))
    page.data.location.path.textEdited.emit(str(file))
    assert "12 classes, the model knows 10" in notes(page, "mine")["fit"]
    choose_dataset(page, "digits")
    assert notes(page, "mine") == {}


def test_new_follows_the_library_and_keeps_the_ticks(window: MainWindow, folder: Path) -> None:
    page = new_page(window)
    page.load(paths.example_study())
    before = page.draft()
    page.data.models["mine"].click()
    put_model(folder, "third")
    page.refresh()
    assert "third" in page.data.models
    assert [table["name"] for table in page.draft()["model"]][-1] == "mine"
    library.delete(catalog.model_card("mine"), folder)
    page.refresh()
    assert page.draft() == before, "and the study is what it was without it"
    boxes = page.data.model_list.findChildren(QCheckBox)
    assert [box.text() for box in boxes if box.isVisible()].count("Mine") == 0


def test_a_deleted_model_leaves_the_draft_at_once(window: MainWindow) -> None:
    page = new_page(window)
    page.use_model("mine")
    page.attacks.block("fgsm").box.click()  # type: ignore[union-attr]
    assert page.study is not None
    shelf(window).select("mine")
    shelf(window).card.buttons["delete"].click()
    assert page.study is None
    assert "No model" in page.verdict.text()


def test_the_line_below_warns_of_a_model_that_does_not_fit(window: MainWindow) -> None:
    page = new_page(window)
    page.use_model("mine")
    page.attacks.block("fgsm").box.click()  # type: ignore[union-attr]
    assert page.verdict.text() == "0 errors"
    choose_dataset(page, "svhn")
    assert page.verdict.text() == "Mine does not fit the images: see the first column"
    assert page.verdict.property("role") == "warning"
    assert page.start_button.isEnabled(), "the engine has the last word"
    page.data.models["digits-resnet"].click()
    assert page.verdict.text().startswith("Mine and 1 more do not fit")


def test_notes_of_blocks_are_read_by_screen_readers(window: MainWindow) -> None:
    names = {note.accessibleName() for note in new_page(window).findChildren(NoteLine)}
    assert {"Health of Sick one", "Whether Mine fits the images"} <= names
