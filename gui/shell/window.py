"""What an action may ask of the window; the main window does it.

A class and no protocol: menus need a ``QMainWindow``, and Python has no type for both at once.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QMainWindow

from gui.base.page_context import PageContext
from gui.details.panel import DetailsPanel
from gui.pages.base import Page
from gui.shell.models_controller import ModelsController
from gui.shell.queue_controller import QueueController


class Window(QMainWindow):
    """The window as actions and menus know it.

    Attributes:
        context: the results, the engine and the settings.
        page_id: which page is shown.
        undo_stack: what was done and can be undone.
        details: the panel at the right.
        models: library and import.
        queue: what the engine is told about its queue.
    """

    context: PageContext
    page_id: str
    undo_stack: QUndoStack
    details: DetailsPanel
    models: ModelsController
    queue: QueueController

    def page(self) -> Page:
        """The page that is shown."""
        raise NotImplementedError

    def show_page(self, page_id: str, payload: object = None) -> None:
        """Go to a page, and let it open something."""
        raise NotImplementedError

    def open_palette(self) -> None:
        """Every action that makes sense now, by name."""
        raise NotImplementedError

    def show_shortcuts(self) -> None:
        """The sheet of keyboard shortcuts."""
        raise NotImplementedError

    def new_study(self) -> None:
        """An empty draft."""
        raise NotImplementedError

    def add_model(self) -> None:
        """Show the models that can be had at once."""
        raise NotImplementedError

    def open_study(self) -> None:
        """Ask for a study file."""
        raise NotImplementedError

    def load_study(self, path: Path) -> None:
        """Show a study file in New; a bad one is explained there."""
        raise NotImplementedError

    def save_study(self) -> None:
        """Ask where to write the draft."""
        raise NotImplementedError

    def start_study(self) -> None:
        """Start the draft, if it is valid."""
        raise NotImplementedError

    def undo(self) -> None:
        """Take back what was done last, and say what that was."""
        raise NotImplementedError

    def redo(self) -> None:
        """Do once more what was undone last, and say what that was."""
        raise NotImplementedError
