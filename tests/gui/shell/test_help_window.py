"""Help > Guide: the pages of documentation beside the window."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices, QTextDocument
from PySide6.QtTest import QSignalSpy
from PySide6.QtWidgets import QAbstractButton, QWidget
from pytestqt.qtbot import QtBot

from engine.host import paths
from gui.base.page_context import PageContext
from gui.library.import_dialog import ImportDialog
from gui.pages import PAGES
from gui.shell.actions import ACTIONS, GUIDES
from gui.shell.help_window import GuideWindow, slug
from gui.shell.main_window import MainWindow

PAGES_OF_HELP = sorted(page.stem for page in paths.documentation().glob("*.md"))


@pytest.fixture
def guide(qtbot: QtBot) -> Iterator[GuideWindow]:
    host = QWidget()
    qtbot.addWidget(host)
    guide = GuideWindow("index", host)
    guide.show()
    yield guide
    guide.close()


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_opens_from_the_menu(qtbot: QtBot, context: PageContext, name: str) -> None:
    window = MainWindow(context, "new")
    qtbot.addWidget(window)
    window.show()
    window.menus.actions[f"guide-{name}"].trigger()
    guide = window.findChild(GuideWindow)
    assert guide is not None
    assert len(guide.text.toPlainText()) > 1000
    guide.close()


@pytest.mark.parametrize("name", PAGES_OF_HELP)
def test_every_page_is_shown_as_text(guide: GuideWindow, name: str) -> None:
    guide.text.open(name)
    text = guide.text.toPlainText()
    assert not re.search(r"^#+ |^\||<!--|\]\(|```", text, re.MULTILINE)
    assert guide.windowTitle() == f"Guide: {text.partition(chr(10))[0]}"


def test_every_link_of_the_contents_opens_its_page(guide: GuideWindow) -> None:
    links = re.findall(r"\]\(([\w-]+\.md)\)", (paths.documentation() / "index.md").read_text())
    assert len(links) > 10
    for link in links:
        guide.text.open("index")
        guide.text.anchorClicked.emit(QUrl(link))
        assert guide.text.source().fileName() == link


def test_a_link_leads_to_its_heading_and_back(guide: GuideWindow) -> None:
    guide.text.open("studies")
    guide.text.anchorClicked.emit(QUrl("attacks.md#square"))
    cursor = guide.text.textCursor()
    assert cursor.block().text() == "square"
    assert 0 <= guide.text.cursorRect().top() < guide.text.viewport().height() / 2
    guide.back.click()
    assert guide.text.source().fileName() == "studies.md"
    guide.forward.click()
    assert guide.text.source().fileName() == "attacks.md"
    guide.contents.click()
    assert guide.text.source().fileName() == "index.md"


def test_pictures_are_no_wider_than_the_page(guide: GuideWindow) -> None:
    guide.text.open("window")
    kind = QTextDocument.ResourceType.ImageResource
    for width in (900, 500):
        guide.resize(width, 600)
        picture = guide.text.document().resource(kind.value, QUrl("images/new.png"))
        assert width / 2 < picture.width() < guide.text.viewport().width()


def test_links_to_elsewhere_open_outside(
    guide: GuideWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toString()))
    changed = QSignalSpy(guide.text.sourceChanged)
    guide.text.anchorClicked.emit(QUrl("https://example.org/paper"))
    assert opened == ["https://example.org/paper"]
    assert changed.count() == 0


def test_headings_are_called_as_on_the_built_pages() -> None:
    assert slug("Students and teachers") == "students-and-teachers"
    assert slug("A run is never judged alone") == "a-run-is-never-judged-alone"
    assert slug("torchattacks.PGD") == "torchattackspgd"
    assert slug("1. The form") == "1-the-form"


def test_the_guide_names_what_is_there(context: PageContext, qtbot: QtBot) -> None:
    """Every bold term with capitals of the guide is the text of a control or an action."""
    dialog = ImportDialog(context)
    qtbot.addWidget(dialog)
    window = MainWindow(context, "new")
    qtbot.addWidget(window)
    buttons = (button for host in (dialog, window) for button in host.findChildren(QAbstractButton))
    known = {button.text().strip() for button in buttons}
    known |= {action.text for action in ACTIONS}
    known |= {f"{action.menu} > {action.text}" for action in ACTIONS}
    known |= {entry.title for entry in PAGES.values()} | {"Export"}
    text = (paths.documentation() / "own-model.md").read_text("utf-8")
    steps = text.partition("## Steps")[2]
    named = set(re.findall(r"\*\*([A-Z][^*]+)\*\*", steps))
    assert named - known - {"Read the report"} == set()
