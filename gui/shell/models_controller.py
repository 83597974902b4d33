"""Models beside the pages: library window, import dialog, and files dropped on the window."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QMimeData, QObject, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QUndoStack
from PySide6.QtWidgets import QWidget

from gui.base.file_dialogs import CHECKPOINT_ENDINGS, weights_and_code
from gui.base.page_context import PageContext
from gui.widgets.inputs import dropped_paths

if TYPE_CHECKING:  # both windows come when they are asked for
    from gui.library.import_dialog import ImportDialog
    from gui.library.library_window import LibraryWindow

_STUDY = ".toml"


class ModelsController(QObject):
    """Opens the two windows and says what they ask of the pages.

    Args:
        context: the results, the engine and the settings.
        undo_stack: takes what is done to models.
        window: the parent of both windows; takes files that are dropped on it.

    Signals:
        changed: models were added, deleted, brought back or renamed.
        use: a model to tick in New, and the images it was measured on or None.
        runs_wanted: the runs of a model should be shown.
        study_dropped: a study file was dropped on the window.
        trouble: a ``CrumpleError`` to show.
    """

    changed = Signal()
    use = Signal(str, object)
    runs_wanted = Signal(str)
    study_dropped = Signal(object)
    trouble = Signal(object)

    def __init__(self, context: PageContext, undo_stack: QUndoStack, window: QWidget) -> None:
        super().__init__(window)
        self._context, self._undo_stack, self._window = context, undo_stack, window
        self.library: LibraryWindow | None = None
        self.dialog: ImportDialog | None = None
        window.setAcceptDrops(True)
        window.installEventFilter(self)

    # -- windows ---------------------------------------------------------------------------

    def show_library(self, model_id: str = "") -> None:
        """Open the library, or bring it to the front, and show a model."""
        if self.library is None:
            from gui.library.library_window import LibraryWindow

            self.library = LibraryWindow(
                self._context, self._undo_stack, self.changed.emit, self._window
            )
            self.library.wanted.connect(self._wanted)
            self.library.trouble.connect(self.trouble)
            self.changed.connect(self.library.refresh)
        self.library.show()
        self.library.activateWindow()
        if model_id:
            self.library.select(model_id)

    def import_model(
        self, file: str = "", images: Mapping[str, Any] | None = None, code: str = ""
    ) -> None:
        """Open the import dialog, or bring it to the front, and ask about a file.

        Args:
            file: to import.
            images: to measure on.
            code: the Python file of its network.
        """
        if self.dialog is None:
            from gui.library.import_dialog import ImportDialog

            self.dialog = ImportDialog(self._context, self._window)
            self.dialog.imported.connect(lambda _: self.changed.emit())
            self.dialog.use.connect(self.use)
            self.dialog.show_model.connect(self.show_library)
            self.dialog.destroyed.connect(self._forget)
            self.dialog.open_file(file, dict(images or {}), code)
        elif file:
            self.dialog.open_file(file, dict(images or {}), code)
        self.dialog.show()
        self.dialog.activateWindow()

    def close(self) -> None:
        """Close both windows; an import that runs ends."""
        for window in (self.dialog, self.library):
            if window is not None:
                window.close()

    @property
    def importing(self) -> bool:
        """Whether a model is being imported."""
        return self.dialog is not None and self.dialog.busy

    def _forget(self) -> None:
        self.dialog = None

    def _wanted(self, what: str, model_id: str) -> None:
        match what:
            case "use":
                self.use.emit(model_id, None)
            case "runs":
                self.runs_wanted.emit(model_id)
            case "download":
                from engine.catalog.models.published import published

                model = next(model for model in published() if model.key == model_id)
                self.import_model(model.name, model.images())
            case _:
                self.import_model()

    # -- files dropped on the window -------------------------------------------------------

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QDragEnterEvent) and event.type() == QEvent.Type.DragEnter:
            if dropped_files(event.mimeData()):
                event.acceptProposedAction()
                return True
        elif isinstance(event, QDropEvent) and event.type() == QEvent.Type.Drop:
            files = dropped_files(event.mimeData())
            if files:
                event.acceptProposedAction()
                self._take(files)
                return True
        return super().eventFilter(watched, event)

    def _take(self, files: list[Path]) -> None:
        first, *code = files
        if first.suffix.lower() == _STUDY:
            self.study_dropped.emit(first)
        else:
            self.import_model(str(first), code=str(code[0]) if code else "")


def dropped_files(data: QMimeData) -> list[Path]:
    """The file of this machine that is dragged, if it may be a model or a study.

    A checkpoint may come with the Python file of its network, which stands second then. A folder of
    Hugging Face or timm is one as well.
    """
    files = weights_and_code(dropped_paths(data))
    known = (*CHECKPOINT_ENDINGS, _STUDY) if len(files) == 1 else CHECKPOINT_ENDINGS
    taken = files and (files[0].suffix.lower() in known or (files[0] / "config.json").is_file())
    return files if taken else []
