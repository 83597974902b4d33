"""The filter line tells of a text once, when nobody types any more."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from gui.widgets.filter_line import FilterLine


@pytest.fixture
def line(qtbot: QtBot) -> FilterLine:
    made = FilterLine("attack=pgd")
    qtbot.addWidget(made)
    return made


def heard(line: FilterLine) -> list[str]:
    texts: list[str] = []
    line.settled.connect(texts.append)
    return texts


def test_keys_in_a_row_are_told_of_once(qtbot: QtBot, line: FilterLine) -> None:
    texts = heard(line)
    with qtbot.waitSignal(line.settled):
        QTest.keyClicks(line, "attack=pgd")
        assert texts == []
    assert texts == ["attack=pgd"]


def test_return_and_the_program_do_not_wait(line: FilterLine) -> None:
    texts = heard(line)
    QTest.keyClicks(line, "fgsm")
    QTest.keyClick(line, Qt.Key.Key_Return)
    assert texts == ["fgsm"]
    line.set_now("")
    assert texts == ["fgsm", ""]


def test_what_is_typed_and_taken_back_is_not_told_of(line: FilterLine) -> None:
    texts = heard(line)
    line.set_now("pgd")
    QTest.keyClicks(line, "x")
    QTest.keyClick(line, Qt.Key.Key_Backspace)
    line.settle()
    assert texts == ["pgd"]
