"""The window: rail, pages, details panel, status bar; it routes, the pages work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QByteArray, QSize, QTimer, Signal
from PySide6.QtGui import (
    QCloseEvent,
    QGuiApplication,
    QPaintEvent,
    QShowEvent,
    QUndoCommand,
    QUndoStack,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QMessageBox,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from engine import events
from engine.errors import CrumpleError
from gui.base import error_hooks, model_names, theme
from gui.base.page_context import PageContext
from gui.details.panel import DetailsPanel
from gui.pages import PAGES, page_class
from gui.pages.base import Page
from gui.shell import leaving
from gui.shell.actions import ACTIONS, Action
from gui.shell.command_palette import CommandPalette
from gui.shell.menus import Menus
from gui.shell.models_controller import ModelsController
from gui.shell.page_frame import PageFrame
from gui.shell.queue_controller import QueueController
from gui.shell.rail import Rail
from gui.shell.shortcut_sheet import ShortcutSheet
from gui.shell.status_bar import StatusBar
from gui.shell.toast import Toast
from gui.shell.window import Window
from gui.widgets.message_bar import Message
from gui.widgets.run_filter import FilterText

if TYPE_CHECKING:  # pages are imported when they are first shown
    from gui.pages.new.page import NewPage

_LEAST_HEIGHT = 600
USUAL = QSize(1280, 720)
_FRAME = QSize(8, 40)
"""What a window manager puts around a window, at most."""
_READY_MS = 2000
"""A window that is minimised, or behind a lock, is not painted; it works all the same."""
_GEOMETRY, _PAGE, _DETAILS = "window/geometry", "window/page", "window/details"


class MainWindow(Window):
    """Six pages over one context.

    Args:
        context: the results, the engine and the settings; stays open when the window closes.
        page: the page to show first; the one of last time if empty.

    Signals:
        ready: the first frame is painted, or nobody sees the window; what that did not need may be
            done now.

    Attributes:
        may_close: close without asking, whatever works.
    """

    ready = Signal()

    def __init__(self, context: PageContext, page: str = "") -> None:
        super().__init__()
        self._latest = QTimer(self, singleShot=True, interval=_READY_MS)
        self._latest.timeout.connect(self._be_ready)
        self._is_ready = False
        self.context = context
        self.page_id = ""
        self.may_close = False
        self._question: QMessageBox | None = None
        self._frames: dict[str, PageFrame] = {}
        self.undo_stack = QUndoStack(self)
        self.rail, self.stack = Rail(), QStackedWidget()
        self.details = DetailsPanel(context)
        self.status = StatusBar(context.client)
        self._lay_out()
        self.toast = Toast(self.centralWidget())
        self.palette_box = CommandPalette(self)
        self.models = ModelsController(context, self.undo_stack, self)
        self.queue = QueueController(context, self.status, self.toast)
        self.menus = Menus(self)
        self._connect()
        self._restore(page)

    def _lay_out(self) -> None:
        self.setWindowTitle("Crumple")
        self.setWindowIcon(theme.icon("crumple", "accent"))
        self.setMinimumHeight(_LEAST_HEIGHT)  # the least width is what the pages need
        room = self.screen().availableSize() - _FRAME
        self.resize(USUAL.boundedTo(room))
        middle = QHBoxLayout()
        middle.setSpacing(0)
        middle.addWidget(self.rail)
        middle.addWidget(self.stack, 1)
        middle.addWidget(self.details)
        central = QWidget()
        central.setObjectName("central")
        column = QVBoxLayout(central)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(middle, 1)
        column.addWidget(self.status)
        self.setCentralWidget(central)

    def _connect(self) -> None:
        self.rail.chosen.connect(self.show_page)
        self.palette_box.chosen.connect(self._trigger)
        self.details.change.connect(self.change)
        self.models.changed.connect(self._models_changed)
        self.models.use.connect(self.use_model)
        self.models.runs_wanted.connect(self._show_runs_of)
        self.models.study_dropped.connect(self.load_study)
        self.models.trouble.connect(self.show_error)
        self.context.results.refused.connect(self.show_error)
        self.context.client.happened.connect(self._handle)
        self.context.client.rows_changed.connect(self._count_waiting)

    def _restore(self, page: str) -> None:
        settings = self.context.settings
        geometry = settings.value(_GEOMETRY)
        if isinstance(geometry, QByteArray):
            self.restoreGeometry(geometry)
        self.details.setVisible(settings.value(_DETAILS, "false") == "true")
        page = page or str(settings.value(_PAGE, "new"))
        self.show_page(page if page in PAGES else "new")
        self._count_waiting()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if not self._is_ready:
            self._latest.start(0)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._is_ready:
            self._latest.start()

    def _be_ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self.ready.emit()

    # -- pages -----------------------------------------------------------------------------

    def page(self) -> Page:
        return self._frames[self.page_id].page

    def frame(self, page_id: str) -> PageFrame:
        """A page with its message bar; built when it is first asked for."""
        if page_id not in self._frames:
            frame = PageFrame(page_class(page_id), self.context, self.stack)
            page = frame.page
            error_hooks.install()  # pyqtgraph, imported with some pages, brings its own
            page.selected.connect(partial(self._described_by, page_id))
            if page_id == "new":
                self._connect_new(cast("NewPage", page))
            page.go.connect(self.show_page)
            page.change.connect(self.change)
            self._frames[page_id] = frame
            self.stack.addWidget(frame)
        return self._frames[page_id]

    def _connect_new(self, page: NewPage) -> None:
        page.described.connect(self.details.show_method)
        page.wanted.connect(lambda id_: self.menus.actions[id_].trigger())
        page.replaced.connect(self._offer_draft)
        page.data.model_list.arrived.connect(self.models.changed)

    def show_page(self, page_id: str, payload: object = None) -> None:
        frame = self.frame(page_id)
        self.page_id = page_id
        self.stack.setCurrentWidget(frame)
        self.rail.set_page(page_id)
        if payload is not None:
            frame.page.open(payload)
        self.details.show_runs(frame.page.selected_runs())
        frame.page.setFocus()

    def _described_by(self, page_id: str, run_ids: list[int]) -> None:
        # Live follows the newest run while hidden too; the details belong to what is seen.
        if page_id == self.page_id:
            self.details.show_runs(run_ids)

    def open_palette(self) -> None:
        self.palette_box.open([a for a in ACTIONS if a.id != "palette" and a.enabled(self)])

    def show_shortcuts(self) -> None:
        ShortcutSheet(self).show()

    # -- studies ---------------------------------------------------------------------------

    def _new_page(self) -> NewPage:
        return cast("NewPage", self.frame("new").page)

    def new_study(self) -> None:
        self.show_page("new")
        self._new_page().reset()

    def add_model(self) -> None:
        self.show_page("new")
        self._new_page().data.model_list.ready.pick()

    def open_study(self) -> None:
        self.show_page("new")
        self._new_page().ask_open()

    def load_study(self, path: Path) -> None:
        self.show_page("new")
        self._new_page().load(path)

    def save_study(self) -> None:
        self.show_page("new")
        self._new_page().ask_save()

    def start_study(self) -> None:
        self._new_page().start()

    def use_model(self, model_id: str, images: dict[str, object] | None = None) -> None:
        """Tick a model in New, on these images or on those that it was made for."""
        self.show_page("new")
        self._new_page().use_model(model_id, images)
        self.activateWindow()

    def _show_runs_of(self, model_id: str) -> None:
        self.show_page("runs", FilterText(f'model="{model_id}"'))
        self.activateWindow()

    def _models_changed(self) -> None:
        model_names.forget()
        for view in self.findChildren(QAbstractItemView):
            view.viewport().update()
        if "new" in self._frames:
            self._new_page().data.model_list.refresh()

    def _offer_draft(self, name: str, bring_back: Callable[[], None]) -> None:
        text = f"{name} has taken the place of your draft."
        self.toast.show_message(
            Message(text, "Ctrl+Z brings it back.", button="Undo", action=bring_back)
        )

    # -- what happens ----------------------------------------------------------------------

    def change(self, command: QUndoCommand) -> None:
        """Do something that can be undone."""
        try:
            self.undo_stack.push(command)
        except CrumpleError as error:
            self.show_error(error)
        self.page().refresh()

    def show_error(self, error: CrumpleError) -> None:
        """Say what cannot be done, and what to do."""
        self.toast.show_message(Message.of(error))

    def undo(self) -> None:
        text = self.undo_stack.undoText()
        self.undo_stack.undo()
        self.toast.show_message(Message(f"Undone: {text}."))

    def redo(self) -> None:
        text = self.undo_stack.redoText()
        self.undo_stack.redo()
        self.toast.show_message(Message(f"Done again: {text}."))

    def _trigger(self, action: Action) -> None:
        self.menus.trigger(action)

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.StudyRefused():
                self.show_page("new")
                text = f"{event.name}: {event.message}"
                self.frame("new").bar.show_message(Message(text, event.hint, "error"))
            case events.StudyQueued() if event.reused == len(event.run_ids):
                self._offer("runs", Message("All runs of this study are stored already.", "", "ok"))
            case events.RunFailed():
                text = f"Run {event.run_id} failed: {event.message}"
                self._offer("queue", Message(text, event.hint, "error", event.traceback))
            case events.RunWaits():
                self.queue.say_stopped(f"Run {event.run_id} was stopped, and the queue is paused.")
            case events.WorkerDied():
                hint = "Choose another device, or start a study, to try again."
                hint = hint if event.final else "The queue goes on."
                self._offer("queue", Message(event.reason, hint, "warning"))
            case events.StudyFinished():
                self._offer("runs", _finished(event))

    def _offer(self, page_id: str, message: Message) -> None:
        """A passing message with a button to the page that shows more, unless it is seen."""
        if page_id != self.page_id:
            message = replace(
                message,
                button=f"Show {PAGES[page_id].title}",
                action=lambda: self.show_page(page_id),
            )
        self.toast.show_message(message)

    def report_bug(self, summary: str, traceback: str) -> None:
        """Tell of an error that should not happen; the window stays usable."""
        hint = "It was written to the log; the program goes on."
        self.toast.show_message(Message(summary, hint, "error", traceback))

    def _count_waiting(self) -> None:
        counts = self.context.store.queue_counts()
        self.rail.set_waiting(counts.waiting)
        self.status.set_counts(counts.waiting, counts.ended, counts.runs)

    # -- end -------------------------------------------------------------------------------

    def save_state(self) -> None:
        """Remember what should survive a restart."""
        settings = self.context.settings
        settings.setValue(_GEOMETRY, self.saveGeometry())
        settings.setValue(_PAGE, self.page_id)
        settings.setValue(_DETAILS, "false" if self.details.isHidden() else "true")
        for frame in self._frames.values():
            frame.page.save_state()
        settings.sync()

    def closeEvent(self, event: QCloseEvent) -> None:
        if not self._may_go():
            event.ignore()
            return
        self.save_state()
        self.models.close()
        if "new" in self._frames:
            self._new_page().data.model_list.ready.close_picker()
        super().closeEvent(event)

    def _may_go(self) -> bool:
        """Whether nothing works, or a person wants to go all the same; asks if need be."""
        lines = leaving.unfinished(
            self.context.client,
            importing=self.models.importing,
            downloading="new" in self._frames and self._new_page().data.downloading,
        )
        if self.may_close or not lines or _session_ends():
            return True
        if self._question is None:
            self._question = leaving.ask(self, lines, self._go)
            self._question.destroyed.connect(self._forget_question)
        return False

    def _go(self) -> None:
        self.may_close = True
        self.close()

    def _forget_question(self) -> None:
        self._question = None


def _session_ends() -> bool:
    app = QGuiApplication.instance()
    return isinstance(app, QGuiApplication) and app.isSavingSession()


def _finished(event: events.StudyFinished) -> Message:
    troubles = [
        f"{count} {word}"
        for count, word in ((event.failed, "failed"), (event.cancelled, "cancelled"))
        if count
    ]
    text = ", ".join([f"Study finished: {event.finished} runs", *troubles])
    return Message(f"{text}.", "", "warning" if event.failed else "ok")
