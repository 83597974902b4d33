"""What costs too much for every change is done at the first, and once for the rest."""

from __future__ import annotations

from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot

from gui.base.seldom import Seldom


def test_changes_during_a_pause_are_done_together(qtbot: QtBot) -> None:
    parent, done = QObject(), []
    seldom = Seldom(lambda: done.append(len(done)), 20, parent)
    seldom.ask()
    assert done == [0], "the first one at once"
    for _ in range(5):
        seldom.ask()
    assert done == [0]
    qtbot.waitUntil(lambda: len(done) == 2)
    qtbot.waitUntil(lambda: not seldom._timer.isActive())
    assert done == [0, 1], "and without a change never again"
    seldom.ask()
    assert done == [0, 1, 2]
    parent.deleteLater()


def test_what_is_done_may_be_a_change_itself(qtbot: QtBot) -> None:
    parent, done = QObject(), []

    def do() -> None:
        done.append(1)
        if len(done) < 3:
            seldom.ask()

    seldom = Seldom(do, 1, parent)
    seldom.ask()
    qtbot.waitUntil(lambda: len(done) == 3)
    parent.deleteLater()
