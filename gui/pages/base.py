"""What all pages have in common."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QWidget

from engine.events import Event
from gui.base.page_context import PageContext


class Page(QWidget):
    """One of the six pages.

    A page reads the store in ``refresh`` (called when it is shown, and while it is visible
    whenever rows changed) and follows a run through ``handle``.

    Signals:
        selected: the run ids that the details panel should describe.
        go: another page by id and what it should open (see ``open``).
        change: an undoable command (``gui.base.undo_commands``) for the window's undo stack, which
            does it.
        notify: a ``gui.widgets.message_bar.Message`` for the bar above the page;
            None clears it.
    """

    selected = Signal(object)  # a list, which as such would be copied to C++ and back
    go = Signal(str, object)
    change = Signal(object)
    notify = Signal(object)

    def __init__(self, context: PageContext, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.context = context
        context.client.happened.connect(self.handle)
        context.client.rows_changed.connect(self._refresh_if_visible)
        context.runs.changed.connect(self._refresh_if_visible)

    def refresh(self) -> None:
        """Read the store again."""

    def handle(self, event: Event) -> None:
        """React to an engine event; called for every event, also while hidden."""

    def open(self, payload: Any) -> None:
        """Show what another page asked for."""

    def selected_runs(self) -> list[int]:
        """The run ids that actions such as Cancel, Compare and Inspect apply to."""
        return []

    def focus_filter(self) -> None:
        """Put the cursor into the filter (Ctrl+F); pages without a filter leave this alone."""

    def export(self) -> None:
        """Ask for a file and write what is shown (Ctrl+E); left alone if there is nothing."""

    def save_state(self) -> None:
        """Write to the settings what should survive a restart."""

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.context.runs.refresh()
        self.refresh()

    def _refresh_if_visible(self) -> None:
        if self.isVisible():
            self.refresh()
