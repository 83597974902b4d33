"""Pictures of different sizes on New: what is proposed, and what they will look like."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from pytestqt.qtbot import QtBot

from engine import catalog
from gui.base.page_context import PageContext
from gui.pages.new.page import NewPage


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Ten classes of grey pictures, no two of one size."""
    for number in range(10):
        (tmp_path / "set" / f"c{number}").mkdir(parents=True)
        size = (20 + number, 30 - number)
        Image.new("L", size, 25 * number).save(tmp_path / "set" / f"c{number}" / "1.png")
    return tmp_path / "set"


@pytest.fixture
def page(qtbot: QtBot, context: PageContext, pictures: Path) -> NewPage:
    page = NewPage(context)
    qtbot.addWidget(page)
    page.show()
    page.data.models["digits-resnet"].click()
    row = list(catalog.section("datasets")).index("folder")
    page.data.dataset.setCurrentIndex(row)
    page.data.dataset.activated.emit(row)
    page.data.location.path.setText(str(pictures))
    page.data.location.path.textEdited.emit(str(pictures))
    return page


def test_the_size_of_the_model_is_proposed_and_taken(
    page: NewPage, pictures: Path, qtbot: QtBot
) -> None:
    cut = page.data.cut
    assert "differ in size" in cut.note.text()
    assert cut.propose.isVisible()
    cut.propose.click()
    table = page.data.tables()["dataset"]
    assert table == {"folder": str(pictures), "resize": 8, "crop": 8}
    assert not cut.note.text()
    assert not cut.propose.isVisible()
    assert not page.data.model_list.misfits()
    qtbot.waitUntil(cut.sheet.isVisible)
    shown = cut.sheet.pixmap().toImage()
    assert shown.height() == 60
    greys = [shown.pixelColor(66 * place + 30, 30).red() for place in range(4)]
    assert greys == [0, 25, 50, 75]


def test_sizes_of_a_folder_survive_the_page(page: NewPage, pictures: Path) -> None:
    draft = page.data.tables() | {"dataset": {"folder": str(pictures), "resize": 36, "crop": 32}}
    page.data.put(draft)
    assert page.data.tables()["dataset"] == draft["dataset"]
    page.data.cut.boxes["resize"].setValue(0)
    assert page.data.tables()["dataset"] == {"folder": str(pictures), "crop": 32}


def test_a_preview_that_cannot_be_is_explained(page: NewPage, pictures: Path, qtbot: QtBot) -> None:
    (pictures / "c0" / "1.png").write_bytes(b"no picture")
    cut = page.data.cut
    cut.preview.click()
    qtbot.waitUntil(lambda: "1.png cannot be read" in cut.note.text())
    assert cut.preview.isEnabled()


def test_only_datasets_of_pictures_have_a_size(page: NewPage) -> None:
    for row, name in enumerate(catalog.section("datasets")):
        page.data.dataset.setCurrentIndex(row)
        page.data.dataset.activated.emit(row)
        assert page.data.cut.isVisible() == (name in ("folder", "imagenet"))
