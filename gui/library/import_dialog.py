"""File > Import model: asks, lets the checkpoint doctor work, and shows what it says."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QMimeData, Qt, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from engine.importing.report import Report
from gui.base import file_dialogs
from gui.base.page_context import PageContext
from gui.bridge.engine_process import EngineProcess, FileProcess
from gui.bridge.import_process import ImportProcess, class_arguments, import_arguments
from gui.library.import_form import ImportForm
from gui.library.import_words import in_window
from gui.library.report_view import ReportView
from gui.library.small_table import SmallTable
from gui.widgets.dialog import Dialog
from gui.widgets.icon_button import TextButton
from gui.widgets.inputs import add_key, dropped_paths
from gui.widgets.message_bar import Message, MessageBar
from gui.widgets.note_line import NoteLine

_IMAGES = "import/images"
_ABOUT_CLASS = ("arch", "class", "write-class")
"""What is to blame where a class of one's own would help."""

_MISFITS = 6
"""Rows of what does not fit that are seen at once."""
_SURE = (
    "The doctor does not call this network healthy: attacks on it may say nothing about a real "
    "one. It stays marked in the library and in New."
)


class ImportDialog(Dialog):
    """One import after the other; the window stays usable meanwhile.

    Signals:
        imported: the id of a model that is in the library now.
        use: a model id and the images it was measured on, for a new study.
        show_model: a model id, to be shown in the library.
    """

    imported = Signal(str)
    use = Signal(str, object)
    show_model = Signal(str)

    def __init__(self, context: PageContext, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._context = context
        self._process: EngineProcess | None = None
        self.report: Report | None = None
        self.form, self.view, self.stack = ImportForm(), ReportView(), QStackedWidget()
        self.message, self.sure = MessageBar(), MessageBar()
        self.misfits: SmallTable | None = None
        self.stored = NoteLine("Whether it was stored")
        self.bar, self.doing = QProgressBar(), QLabel()
        self.examine = TextButton("search", "Examine and import", primary=True)
        self.cancel = QPushButton("Cancel")
        self.back = QPushButton("Change and try again")
        self.another = QPushButton("Import another")
        self.keep = QPushButton("Keep anyway…")
        self.take = TextButton("import", "Import this candidate", primary=True)
        self.library = QPushButton("Show in the library")
        self.study = TextButton("new", "Use in a new study", primary=True)
        self._lay_out()
        self._connect()
        self._remember()
        self._show()

    def _lay_out(self) -> None:
        self.setWindowTitle("Import a model")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(760, 600)
        self.setAcceptDrops(True)
        self.examine.setToolTip("Examine and import (Ctrl+Enter)")
        self.words = QLabel(
            "The checkpoint doctor recognises format, architecture and normalisation, measures "
            "the clean accuracy, and puts the model into the library if it is healthy."
        )
        self.words.setWordWrap(True)
        self.words.setProperty("role", "muted")
        self.bar.setAccessibleName("Progress of the import")
        self.doing.setAccessibleName("What is being done")
        self._room = QScrollArea()  # a long message leaves little of the form
        self._room.setFrameShape(QFrame.Shape.NoFrame)
        self._room.setWidgetResizable(True)
        self._room.setWidget(self.form)
        self.stack.addWidget(self._room)
        self.stack.addWidget(self.view)
        last = QHBoxLayout()
        last.addWidget(self.bar, 1)
        last.addWidget(self.stored, 1)
        last.addStretch()
        for button in (
            *(self.back, self.another, self.keep, self.take, self.library, self.study),
            *(self.cancel, self.examine),
        ):
            last.addWidget(button)
        self._column = column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.addWidget(self.words)
        column.addWidget(self.stack, 1)
        for widget in (self.message, self.sure, self.doing):
            column.addWidget(widget)
        column.addLayout(last)

    def _connect(self) -> None:
        self.examine.clicked.connect(self.start)
        self.cancel.clicked.connect(self.stop)
        self.back.clicked.connect(self._change)
        self.another.clicked.connect(self._begin_again)
        self.keep.clicked.connect(self._ask_if_sure)
        self.take.clicked.connect(self._take)
        self.view.candidate_changed.connect(self._show)
        self.library.clicked.connect(lambda: self.show_model.emit(self._model()))
        self.study.clicked.connect(self._use)
        self.form.changed.connect(self._form_changed)
        self.form.code.write_wanted.connect(self._ask_where)
        for keys in ("Ctrl+Return", "Ctrl+Enter"):
            add_key(self, keys, self._start_by_key, within=True)

    def _start_by_key(self) -> None:
        if self.examine.isVisible():
            self.start()

    def _remember(self) -> None:
        """The images of last time."""
        try:
            data = json.loads(str(self._context.settings.value(_IMAGES, "{}")))
            self.form.put_images(data)
        except (ValueError, TypeError, AttributeError):
            return

    def open_file(self, file: str, images: dict[str, Any] | None = None, code: str = "") -> None:
        """Ask about this file; what runs already goes on.

        Args:
            file: the one to import; Python beside a checkpoint is that of its network.
            images: to measure on.
            code: the Python file of its network.
        """
        if self._process is None and not (self.report is None and self.form.add(file)):
            self._begin_again()
            self.form.put_file(file)
            self.form.code.put(code)
            if images:
                self.form.put_images(images)
        (self.form.location.path if file else self.form.file).setFocus()

    # -- states ----------------------------------------------------------------------------

    def _show(self) -> None:
        """What can be done now."""
        running, report = self._process is not None, self.report
        stored = report is not None and bool(report.model)
        self.stack.setCurrentWidget(self.view if report else self._room)
        self.words.setVisible(report is None)
        self.stored.tell("")
        if report is not None and not running:
            text = f"In the library as {report.model}." if stored else "Not put into the library."
            self.stored.tell(text, "ok" if stored else "warning")
        self.form.setEnabled(not running)
        self.bar.setVisible(running)
        self.doing.setVisible(running)
        self.cancel.setVisible(running)
        self.examine.setVisible(not running and report is None)
        self.back.setVisible(not running and report is not None and not stored)
        self.keep.setVisible(not running and report is not None and not stored)
        number = self.view.candidate if report is not None and not running else None
        self.take.setVisible(number is not None)
        self.take.setText(f"Import candidate {number}")
        for button in (self.another, self.library, self.study):
            button.setVisible(stored and not running)

    def _form_changed(self) -> None:
        self.message.clear()
        self._show_misfits(())

    def _show_misfits(self, table: tuple[tuple[str, ...], ...]) -> None:
        """What does not fit, a row for each, below the sentence; the first are the headings."""
        if self.misfits is not None:
            self._column.removeWidget(self.misfits)
            self.misfits.hide()
            self.misfits.deleteLater()
            self.misfits = None
        if len(table) > 1:
            self.misfits = SmallTable(table[0], "What does not fit", _MISFITS)
            self._column.insertWidget(self._column.indexOf(self.sure), self.misfits)
            self.misfits.set_rows(table[1:])
        self.words.setVisible(self.report is None and self.misfits is None)

    def _change(self) -> None:
        """Back to the fields, to the one that the doctor asks for."""
        asked = self.report.doubted if self.report else ""
        self.report = None
        self.sure.clear()
        self._show()
        self.form.point_at(asked)

    def _begin_again(self) -> None:
        self.report = None
        self.message.clear()
        self.sure.clear()
        self.form.put_file("")
        self.form.code.clear()
        for line in self.form.lines.values():
            line.clear()
        self._show()
        self.form.file.setFocus()

    def _ask_if_sure(self) -> None:
        self.sure.show_message(
            Message(_SURE, "", "warning", button="Yes, keep it", action=self._keep)
        )

    # -- the process -----------------------------------------------------------------------

    def start(self) -> None:
        """Examine what the form names; what is missing is said instead."""
        objection = self.form.objection()
        if objection is not None:
            text, field = objection
            self.message.show_message(Message(text, "", "error"))
            field.setFocus()
            return
        self._context.settings.setValue(_IMAGES, json.dumps(self.form.images()))
        self._run(self.form.options())

    def _take(self) -> None:
        """Import the network that is selected among those that the shapes allow."""
        self.form.lines["candidate"].setText(str(self.view.candidate))
        self._run(self.form.options())

    def _keep(self) -> None:
        self._run([*self.form.options(), "--keep"])

    def _run(self, options: list[str]) -> None:
        self.run(import_arguments([*options, "--db", str(self._context.store.path)]))

    def run(self, arguments: list[str]) -> None:
        """Import with this command line and show how far it is."""
        process = ImportProcess(arguments, self)
        process.finished.connect(self._finished)
        self._begin(process, "Reading the file ...")

    def _begin(self, process: EngineProcess, doing: str) -> None:
        self.message.clear()
        self.sure.clear()
        self._show_misfits(())
        self.bar.setRange(0, 0)
        self.doing.setText(doing)
        self._process = process
        process.told.connect(self._told)
        process.refused.connect(self._refused)
        self._show()
        process.start()

    @property
    def busy(self) -> bool:
        """Whether an import works."""
        return self._process is not None

    def stop(self) -> None:
        """End the import; nothing is stored."""
        if self._process is not None:
            self._process.stop()

    def _told(self, doing: str, share: float) -> None:
        self.doing.setText(doing)
        self.bar.setRange(0, 0 if share < 0 else 100)
        self.bar.setValue(max(0, round(100 * share)))

    def _finished(self, report: Report) -> None:
        self._process, self.report = None, report
        self.view.show_report(report)
        self._show()
        if report.model:
            self.imported.emit(report.model)
        asked = self.view.candidates or self.back
        (self.study if report.model else asked).setFocus()

    def _refused(self, reason: str, field: str) -> None:
        table = self._process.table if self._process is not None else ()
        self._process = None
        if self.report is not None and reason:
            self.report = None
        self._show()
        if reason:
            self.form.point_at(field)  # where the field says more of itself, it says so first
            self._complain(in_window(reason), field)
            self._show_misfits(table)
        else:
            self.message.show_message(Message("Stopped; nothing was stored."))

    def _complain(self, sentence: str, field: str) -> None:
        """Say what is wrong; where a class is wanted and there is none, offer a file for it."""
        action = None
        if field in _ABOUT_CLASS and not self.form.code.file:
            action = partial(self._ask_where, sentence)
        self.message.show_message(
            Message(sentence, "", "error", button="Write net.py…" if action else "", action=action)
        )

    # -- a Python file to fill in ----------------------------------------------------------

    def _ask_where(self, sentence: str = "") -> None:
        """Ask for a place for the file; without one, what was said is said again."""
        file = self.form.weights()
        path = file_dialogs.ask_save(
            self, "Write a Python file for the network", file_dialogs.PYTHON,
            str(Path(file).with_name("net.py")),
        )  # fmt: skip
        if path is None:
            if sentence:
                self._complain(sentence, "class")
            return
        if not file_dialogs.is_code(path):
            path = path.with_name(f"{path.name}{file_dialogs.CODE_ENDING}")
        part = self.form.lines["part"].text().strip()
        process = FileProcess(class_arguments(file, path, part), path, self)
        process.written.connect(self._written)
        self._begin(process, f"Writing {path.name} ...")

    def _written(self, path: Path) -> None:
        """Show where it is; it is not opened itself, as a system may run what is opened."""
        self._process = None
        self._show()
        file_dialogs.show_folder(path.parent)
        self.message.show_message(
            Message(
                f"{path.name} is written, and its folder is open: fill in the class.",
                "It lists the layers of the file with their shapes.",
                "ok",
                button="Choose this file",
                action=partial(self._choose_written, path),
            )
        )

    def _choose_written(self, path: Path) -> None:
        self.form.code.put(str(path))
        self.form.code.name.setFocus()

    # -- what comes of it ------------------------------------------------------------------

    def _model(self) -> str:
        return self.report.model if self.report else ""

    def _use(self) -> None:
        self.use.emit(self._model(), self.form.images())
        self.close()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if self._process is None and _dropped(event.mimeData()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """What is dropped beside the fields is to be imported."""
        if files := _dropped(event.mimeData()):
            event.acceptProposedAction()
            self.open_file(files[0], code="".join(files[1:]))

    def event(self, event: QEvent) -> bool:
        """Who comes back from an editor finds the classes as they are now."""
        if event.type() == QEvent.Type.WindowActivate:
            self.form.code.look()
        return super().event(event)

    def reject(self) -> None:
        """Escape stops what runs first, and closes then."""
        if self._process is not None:
            self.stop()
        else:
            super().reject()

    def closeEvent(self, event: QCloseEvent) -> None:
        self.stop()
        super().closeEvent(event)


def _dropped(data: QMimeData) -> list[str]:
    """The file to import, and perhaps the Python file of its network."""
    return [str(path) for path in file_dialogs.weights_and_code(dropped_paths(data))]
