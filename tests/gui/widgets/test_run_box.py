"""The choice of a run: listed, found by typing, and never lost while one types."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from gui.base.page_context import PageContext
from gui.widgets.run_box import RunBox
from tests.helpers.fake_results import FakeResults


def title(row: Any) -> str:
    return f"{row['run_id']} {row['model']} {row['compression']} {row['attack']}"


@pytest.fixture
def box(qtbot: QtBot, full_context: PageContext) -> RunBox:
    full_context.runs.refresh()
    table = full_context.runs.table
    box = RunBox(table, table.shown, title)
    qtbot.addWidget(box)
    with qtbot.waitActive(box):
        box.show()
        box.activateWindow()
    box.fill([(title(table.run(run_id)), run_id) for run_id in (3, 2, 1)])
    box.show_run(2)
    return box


def popup_texts(box: RunBox) -> list[str]:
    completer = box.line.completer()
    return [completer.model().index(row, 0).data() for row in range(completer.model().rowCount())]


def test_a_run_that_is_not_listed_is_found_by_words_and_chosen(
    box: RunBox, qtbot: QtBot, results: FakeResults
) -> None:
    wanted = results.ids["digits-resnet-at", "magnitude 90%", "fgsm"]
    assert box.findData(wanted) < 0
    box.line.setFocus()
    box.line.selectAll()
    qtbot.keyClicks(box.line, "model=digits-resnet-at magnitude 90 fgsm")
    assert [text.split()[0] for text in popup_texts(box)] == [str(wanted)]
    with qtbot.waitSignal(box.chosen) as told:
        qtbot.keyClick(box.line, Qt.Key.Key_Return)
    assert told.args == [wanted]
    assert box.currentData() == wanted
    assert box.line.text() == box.currentText() == box.itemText(0)


def test_one_of_several_found_is_taken_from_the_list(box: RunBox, qtbot: QtBot) -> None:
    box.line.setFocus()
    box.line.selectAll()
    qtbot.keyClicks(box.line, "fgsm")
    popup = box.line.completer().popup()
    qtbot.waitUntil(popup.isVisible)
    texts = popup_texts(box)
    assert len(texts) > 5
    for _ in range(4):
        qtbot.keyClick(popup, Qt.Key.Key_Down)
    qtbot.keyClick(popup, Qt.Key.Key_Return)
    assert box.currentText() == box.line.text() == texts[3]
    assert box.currentData() == int(texts[3].split()[0])


def test_what_is_not_found_leaves_the_choice(box: RunBox, qtbot: QtBot) -> None:
    told: list[int] = []
    box.chosen.connect(told.append)
    box.line.setFocus()
    box.line.selectAll()
    qtbot.keyClicks(box.line, "nothing is called so")
    assert popup_texts(box) == []
    qtbot.keyClick(box.line, Qt.Key.Key_Return)
    assert (told, box.currentData()) == ([], 2)
    assert box.line.text() == box.currentText()


def test_new_runs_do_not_disturb_who_types(box: RunBox, qtbot: QtBot) -> None:
    box.line.setFocus()
    box.line.selectAll()
    qtbot.keyClicks(box.line, "magn")
    box.fill([("9 new", 9), ("3 old", 3)])
    box.show_run(3)
    assert box.line.text() == "magn"
    qtbot.keyClicks(box.line, "itude")
    assert box.line.text() == "magnitude"
    box.line.completer().popup().hide()


def test_the_shown_run_is_listed_if_it_was_not(box: RunBox) -> None:
    box.show_run(7)
    assert box.currentData() == 7
    assert box.currentText().startswith("7 ")
    box.show_run(None)
    assert box.currentIndex() == -1
    assert box.line.text() == ""
