"""What every page owes, whoever wrote it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from PySide6.QtCore import QSize
from PySide6.QtWidgets import (
    QAbstractButton,
    QScrollArea,
)
from pytestqt.qtbot import QtBot

from engine.host import paths
from gui.base import theme
from gui.base.page_context import PageContext
from gui.pages import PAGES, page_class
from gui.pages.base import Page
from gui.pages.new.method_block import MethodBlock
from gui.shell.main_window import MainWindow
from gui.widgets.empty_state import EmptyState
from tests.helpers.colours import ICONS
from tests.helpers.screen_reader import nameless

every_page = pytest.mark.parametrize("page_id", PAGES)


ROOT = Path(__file__).resolve().parents[3]


def test_every_folder_of_a_page_is_registered_and_knows_no_other() -> None:
    folders = {file.parent.name for file in (ROOT / "gui" / "pages").glob("*/page.py")}
    assert folders == PAGES.keys()
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    contract = next(
        one for one in tool["importlinter"]["contracts"] if one["name"].startswith("Pages")
    )
    assert set(contract["modules"]) == {f"gui.pages.{page_id}" for page_id in PAGES}


def shown(qtbot: QtBot, context: PageContext, page_id: str) -> MainWindow:
    window = MainWindow(context, page_id)
    qtbot.addWidget(window)
    window.resize(1280, 720)
    window.show()
    return window


@every_page
def test_lies_in_its_folder_and_has_an_icon(page_id: str) -> None:
    page = page_class(page_id)
    assert issubclass(page, Page)
    assert page.__module__ == f"gui.pages.{page_id}.page"
    assert PAGES[page_id].icon in ICONS


@every_page
@pytest.mark.parametrize("fixture", ["context", "full_context"])
def test_fits_a_small_screen_and_names_its_controls(
    qtbot: QtBot, request: pytest.FixtureRequest, page_id: str, fixture: str
) -> None:
    window = shown(qtbot, request.getfixturevalue(fixture), page_id)
    assert window.minimumSizeHint().width() <= 1280
    assert window.minimumSizeHint().height() <= 720
    assert window.size() == QSize(1280, 720)
    assert nameless(window) == []


def test_every_method_fits_into_its_column(qtbot: QtBot, context: PageContext) -> None:
    window = shown(qtbot, context, "new")
    window.load_study(paths.resources() / "studies" / "systems-digits.toml")
    widths = {
        area.viewport().width() - area.widget().minimumSizeHint().width()
        for area in window.findChildren(QScrollArea)
        if area.isVisible()
    }
    assert len(widths) >= 2
    assert min(widths) >= 0
    blocks = window.findChildren(MethodBlock)
    long = next(block.box for block in blocks if block.entry_id == "iad-2")
    assert "\u2026" in long.shown_text()
    assert long.shown_text().endswith("(IAD-II)")
    assert (
        long.accessibleName() == long.text() == "Introspective distillation, two teachers (IAD-II)"
    )


@pytest.mark.parametrize("page_id", [page_id for page_id in PAGES if page_id != "new"])
def test_an_empty_page_offers_the_next_action(
    qtbot: QtBot, context: PageContext, page_id: str
) -> None:
    window = shown(qtbot, context, page_id)
    visible = [empty for empty in window.page().findChildren(EmptyState) if empty.isVisible()]
    assert len(visible) == 1
    buttons = [button for button in visible[0].findChildren(QAbstractButton) if button.isVisible()]
    assert buttons
    buttons[0].click()
    assert window.page_id == "new"


@every_page
def test_has_paper_of_the_theme(qtbot: QtBot, full_context: PageContext, page_id: str) -> None:
    window = shown(qtbot, full_context, page_id)
    pages = {}
    for mode in ("light", "dark"):
        theme.current().use(mode)
        pages[mode] = window.grab().toImage()
    for mode, lightest in (("light", True), ("dark", False)):
        image = pages[mode].scaled(64, 36)
        values = [image.pixelColor(x, y).lightness() for x in range(64) for y in range(36)]
        light = sum(value > 128 for value in values) / len(values)
        assert (light > 0.8) is lightest, (mode, light)
        assert (light < 0.2) is not lightest, (mode, light)
