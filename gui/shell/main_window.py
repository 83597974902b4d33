"""The window: rail, pages, details panel, status bar; it routes, the pages work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QByteArray, QSize, QUrl
from PySide6.QtGui import (
    QCloseEvent,
    QDesktopServices,
    QGuiApplication,
    QUndoCommand,
    QUndoStack,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QMainWindow,
    QMessageBox,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from engine import events
from engine.errors import CrumpleError
from engine.host import paths
from gui.base import error_hooks, model_names, theme
from gui.base.page_context import Lab
from gui.details.panel import DetailsPanel
from gui.pages import PAGES, page_class
from gui.pages.base import Page
from gui.pages.new.page import NewPage
from gui.shell import leaving
from gui.shell.actions import ACTIONS, Action
from gui.shell.command_palette import CommandPalette
from gui.shell.help_window import GuideWindow
from gui.shell.menus import Menus
from gui.shell.models_controller import ModelDesk
from gui.shell.rail import Rail
from gui.shell.shortcut_sheet import ShortcutSheet
from gui.shell.status_bar import StatusBar
from gui.shell.toast import Toast
from gui.widgets.message_bar import Message
from gui.widgets.overlay_bar import OverlayBar

_LEAST_HEIGHT = 600
USUAL = QSize(1280, 720)
_FRAME = QSize(8, 40)
"""What a window manager puts around a window, at most."""
DEVICE, PRECISION = "engine/device", "engine/precision"
"""Settings: what the engine is started with."""

_GEOMETRY, _PAGE, _DETAILS = "window/geometry", "window/page", "window/details"


class _Frame(QWidget):
    """A page, and its message bar over it."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page, self.bar = page, OverlayBar(self)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.addWidget(page, 1)
        page.notify.connect(self._tell)

    def _tell(self, message: Message | None) -> None:
        if message is None:
            self.bar.clear()
        else:
            self.bar.show_message(message)


class MainWindow(QMainWindow):
    """Six pages over one lab.

    Args:
        lab: the results, the engine and the settings; stays open when the window closes.
        page: the page to show first; the one of last time if empty.

    Attributes:
        may_close: close without asking, whatever works.
    """

    def __init__(self, lab: Lab, page: str = "") -> None:
        super().__init__()
        self.lab = lab
        self.page_id = ""
        self.may_close = False
        self._question: QMessageBox | None = None
        self._frames: dict[str, _Frame] = {}
        self.undo_stack = QUndoStack(self)
        self.rail, self.stack = Rail(), QStackedWidget()
        self.details = DetailsPanel(lab)
        self.status = StatusBar(lab.client)
        self._lay_out()
        self.toast = Toast(self.centralWidget())
        self.palette_box = CommandPalette(self)
        self.menus = Menus(self)
        self.models = ModelDesk(self)
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
        self.status.stop.connect(self.stop_queue)
        self.status.resume.connect(self._resume)
        self.status.device.chosen.connect(self._use_device)
        self.models.changed.connect(self._models_changed)
        self.lab.client.event.connect(self._handle)
        self.lab.client.rows_changed.connect(self._count_waiting)

    def _restore(self, page: str) -> None:
        settings = self.lab.settings
        geometry = settings.value(_GEOMETRY)
        if isinstance(geometry, QByteArray):
            self.restoreGeometry(geometry)
        self.details.setVisible(settings.value(_DETAILS, "false") == "true")
        page = page or str(settings.value(_PAGE, "new"))
        self.show_page(page if page in PAGES else "new")
        self._count_waiting()

    # -- pages -----------------------------------------------------------------------------

    def page(self) -> Page:
        """The page that is shown."""
        return self._frames[self.page_id].page

    def frame(self, page_id: str) -> _Frame:
        """A page with its message bar; built when it is first asked for."""
        if page_id not in self._frames:
            page = page_class(page_id)(self.lab)
            error_hooks.install()  # pyqtgraph, imported with some pages, brings its own
            page.selected.connect(partial(self._described_by, page_id))
            if isinstance(page, NewPage):
                page.described.connect(self.details.show_method)
                page.wanted.connect(lambda id_: self.menus.actions[id_].trigger())
                page.replaced.connect(self._offer_draft)
            page.go.connect(self.show_page)
            page.change.connect(self.change)
            self._frames[page_id] = _Frame(page)
            self.stack.addWidget(self._frames[page_id])
        return self._frames[page_id]

    def show_page(self, page_id: str, payload: object = None) -> None:
        """Go to a page, and let it open something."""
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

    def toggle_details(self) -> None:
        """Show or hide the panel at the right."""
        self.details.setVisible(self.details.isHidden())

    def open_palette(self) -> None:
        """Every action that makes sense now, by name."""
        self.palette_box.open([a for a in ACTIONS if a.id != "palette" and a.enabled(self)])

    def show_shortcuts(self) -> None:
        """The sheet of keyboard shortcuts."""
        ShortcutSheet(self).show()

    def show_guide(self, name: str) -> None:
        """A page of help (``resources/help``)."""
        GuideWindow(name, self).show()

    def open_log_folder(self) -> None:
        """Show the log files in the system's file manager."""
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(error_hooks.log_folder())))

    # -- studies ---------------------------------------------------------------------------

    def _new_page(self) -> NewPage:
        page = self.frame("new").page
        assert isinstance(page, NewPage)
        return page

    def new_study(self) -> None:
        """An empty draft."""
        self.show_page("new")
        self._new_page().reset()

    def load_example(self) -> None:
        """The study that comes with the program."""
        self.load_study(paths.example_study())

    def open_study(self) -> None:
        """Ask for a study file."""
        self.show_page("new")
        self._new_page().ask_open()

    def load_study(self, path: Path) -> None:
        """Show a study file in New; a bad one is explained there."""
        self.show_page("new")
        self._new_page().load(path)

    def save_study(self) -> None:
        """Ask where to write the draft."""
        self.show_page("new")
        self._new_page().ask_save()

    def start_study(self) -> None:
        """Start the draft, if it is valid."""
        self._new_page().start()

    def use_model(self, model_id: str, images: Mapping[str, Any] | None = None) -> None:
        """Tick a model in New, on these images or on those that it was made for."""
        self.show_page("new")
        self._new_page().use_model(model_id, images)
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

    def downloading(self) -> bool:
        """Whether a dataset is on its way."""
        return "new" in self._frames and self._new_page().data.place.downloading

    def stop_queue(self) -> None:
        """Stop what runs and begin nothing else; what it has finished stays."""
        if self.lab.client.busy:
            self.lab.client.halt()
            self.status.set_stopping()
        if self.lab.client.running is None and self.lab.client.transferring is not None:
            self._say_stopped("The transfer of examples was stopped, and the queue is paused.")

    def _say_stopped(self, text: str) -> None:
        hint = "All that was finished is stored; Resume goes on from there."
        self.toast.show_message(Message(text, hint, button="Resume", action=self._resume))

    def skip_run(self) -> None:
        """Cancel what runs; the queue goes on with the next run."""
        if self.lab.client.running is not None:
            self.lab.client.cancel([self.lab.client.running])
            self.status.set_stopping()

    def choose_device(self) -> None:
        """Offer the devices of this machine."""
        self.status.device.showMenu()

    def _use_device(self, device: str, precision: str) -> None:
        """Compute there, now and when the window opens again."""
        self.lab.settings.setValue(DEVICE, device)
        self.lab.settings.setValue(PRECISION, precision)
        self.status.set_starting()
        self.lab.client.use(device, precision)

    def _resume(self) -> None:
        self.lab.client.pause(False)

    # -- what happens ----------------------------------------------------------------------

    def change(self, command: QUndoCommand) -> None:
        """Do something that can be undone."""
        try:
            self.undo_stack.push(command)
        except CrumpleError as error:
            self.toast.show_message(Message.of(error))
        self.page().refresh()

    def undo(self) -> None:
        """Take back what was done last, and say what that was."""
        text = self.undo_stack.undoText()
        self.undo_stack.undo()
        self.toast.show_message(Message(f"Undone: {text}."))

    def redo(self) -> None:
        """Do once more what was undone last, and say what that was."""
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
                self._say_stopped(f"Run {event.run_id} was stopped, and the queue is paused.")
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
        waiting = self.lab.store.count("waiting")
        active = [row for row in self.lab.store.studies() if row["waiting"] or row["running"]]
        runs = sum(row["runs"] for row in active)
        self.rail.set_waiting(waiting)
        self.status.set_counts(
            waiting, runs - sum(row["waiting"] + row["running"] for row in active), runs
        )

    # -- end -------------------------------------------------------------------------------

    def save_state(self) -> None:
        """Remember what should survive a restart."""
        settings = self.lab.settings
        settings.setValue(_GEOMETRY, self.saveGeometry())
        settings.setValue(_PAGE, self.page_id)
        settings.setValue(_DETAILS, "false" if self.details.isHidden() else "true")
        for frame in self._frames.values():
            frame.page.save_state()
        settings.sync()

    def quit(self) -> None:
        """Close the window."""
        self.close()

    def closeEvent(self, event: QCloseEvent) -> None:
        if not self._may_go():
            event.ignore()
            return
        self.save_state()
        self.models.close()
        super().closeEvent(event)

    def _may_go(self) -> bool:
        """Whether nothing works, or a person wants to go all the same; asks if need be."""
        lines = leaving.unfinished(self)
        if self.may_close or not lines or QGuiApplication.instance().isSavingSession():
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


def _finished(event: events.StudyFinished) -> Message:
    troubles = [
        f"{count} {word}"
        for count, word in ((event.failed, "failed"), (event.cancelled, "cancelled"))
        if count
    ]
    text = ", ".join([f"Study finished: {event.finished} runs", *troubles])
    return Message(f"{text}.", "", "warning" if event.failed else "ok")
