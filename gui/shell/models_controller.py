"""Models beside the pages: library window, import dialog, and files dropped on the window."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QMimeData, QObject, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent

from engine.catalog.models.published import published
from gui.base.file_dialogs import CHECKPOINT_ENDINGS
from gui.library.import_dialog import ImportDialog
from gui.library.library_window import LibraryWindow
from gui.widgets.inputs import dropped_path
from gui.widgets.message_bar import Message
from gui.widgets.run_filter import FilterText

if TYPE_CHECKING:
    from gui.shell.main_window import MainWindow

_STUDY = ".toml"


class ModelDesk(QObject):
    """Opens the two windows and carries what they ask for to the pages.

    Signals:
        changed: models were added, deleted, brought back or renamed.
    """

    changed = Signal()

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window
        self.library: LibraryWindow | None = None
        self.dialog: ImportDialog | None = None
        window.setAcceptDrops(True)
        window.installEventFilter(self)

    # -- windows ---------------------------------------------------------------------------

    def show_library(self, model_id: str = "") -> None:
        """Open the library, or bring it to the front, and show a model."""
        if self.library is None:
            window = self._window
            self.library = LibraryWindow(window.lab, window.undo_stack, self._tell_changed, window)
            self.library.wanted.connect(self._wanted)
            self.library.trouble.connect(lambda e: window.toast.show_message(Message.of(e)))
            self.changed.connect(self.library.refresh)
        self.library.show()
        self.library.activateWindow()
        if model_id:
            self.library.select(model_id)

    def import_model(self, file: str = "", images: Mapping[str, Any] | None = None) -> None:
        """Open the import dialog, or bring it to the front, and ask about a file."""
        if self.dialog is None:
            self.dialog = ImportDialog(self._window.lab, self._window)
            self.dialog.imported.connect(lambda _: self._tell_changed())
            self.dialog.use.connect(self.use)
            self.dialog.show_model.connect(self.show_library)
            self.dialog.destroyed.connect(self._forget)
            self.dialog.open_file(file, dict(images or {}))
        elif file:
            self.dialog.open_file(file, dict(images or {}))
        self.dialog.show()
        self.dialog.activateWindow()

    def close(self) -> None:
        """Close both windows; an import that runs ends."""
        for one in (self.dialog, self.library):
            if one is not None:
                one.close()

    @property
    def importing(self) -> bool:
        """Whether a model is being imported."""
        return self.dialog is not None and self.dialog.busy

    def _forget(self) -> None:
        self.dialog = None

    def _tell_changed(self) -> None:
        self.changed.emit()

    # -- what they ask for -----------------------------------------------------------------

    def use(self, model_id: str, images: object = None) -> None:
        """Tick a model on New, with the images it was measured on."""
        data = images if isinstance(images, Mapping) else None
        self._window.use_model(model_id, data)

    def _wanted(self, what: str, model_id: str) -> None:
        match what:
            case "use":
                self.use(model_id)
                self._window.activateWindow()
            case "runs":
                self._window.show_page("runs", FilterText(f'model="{model_id}"'))
                self._window.activateWindow()
            case "download":
                one = next(one for one in published() if one.name == model_id)
                self.import_model(one.name, one.images())
            case _:
                self.import_model()

    # -- files dropped on the window -------------------------------------------------------

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QDragEnterEvent) and event.type() == QEvent.Type.DragEnter:
            if dropped_file(event.mimeData()) is not None:
                event.acceptProposedAction()
                return True
        elif isinstance(event, QDropEvent) and event.type() == QEvent.Type.Drop:
            file = dropped_file(event.mimeData())
            if file is not None:
                event.acceptProposedAction()
                self._take(file)
                return True
        return super().eventFilter(watched, event)

    def _take(self, file: Path) -> None:
        if file.suffix.lower() == _STUDY:
            self._window.load_study(file)
        else:
            self.import_model(str(file))


def dropped_file(data: QMimeData) -> Path | None:
    """The one file of this machine that is dragged, if it may be a model or a study."""
    file = dropped_path(data)
    known = (*CHECKPOINT_ENDINGS, _STUDY)
    return file if file is not None and file.suffix.lower() in known else None
