"""A page on its own, and what it told the window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PySide6.QtGui import QUndoStack
from pytestqt.qtbot import QtBot

from gui.base.page_context import PageContext
from gui.pages import page_class
from gui.widgets.message_bar import Message
from tests.helpers.fake_results import FakeResults

Tell = Callable[..., None]
"""Gives events to a context as the engine would (the fixture ``tell``)."""


@dataclass
class PageHarness:
    """Makes pages and listens to them.

    Attributes:
        undo: takes the pages' changes, as the window does.
    """

    qtbot: QtBot
    context: PageContext
    results: FakeResults | None = None
    undo: QUndoStack = field(default_factory=QUndoStack)
    messages: list[Message] = field(default_factory=list)
    selections: list[list[int]] = field(default_factory=list)
    visits: list[tuple[str, Any]] = field(default_factory=list)

    def page(self, name: str) -> Any:
        """A new page, shown and active."""
        page = page_class(name)(self.context)
        self.qtbot.addWidget(page)
        page.notify.connect(self.messages.append)
        page.change.connect(self.undo.push)
        page.selected.connect(self.selections.append)
        page.go.connect(lambda where, payload: self.visits.append((where, payload)))
        page.resize(1180, 660)
        with self.qtbot.waitActive(page):
            page.show()
            page.activateWindow()
        return page

    def run(self, model: str, compression: str, attack: str) -> int:
        """The id of a run."""
        assert self.results is not None
        return self.results.ids[model, compression, attack]
