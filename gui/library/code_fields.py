"""A network's own Python file in the import form: which class, with what, and may it run."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, QSignalBlocker, QSize, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QWidget,
)

from engine import extensions
from engine.errors import CrumpleError
from engine.importing.arguments import parse_arguments
from engine.importing.declared import Declared, declared, likely, read_code
from gui.base import file_dialogs
from gui.widgets.inputs import ComboBox, LineEdit, PathEdit
from gui.widgets.note_line import NoteLine

_TRUST = "I trust this file"
_BREAK = "\u200b"
"""Where a long path may go on in the next line."""
_COLUMN, _SPARE = 600, 8


class _Note(NoteLine):
    """As high as it needs to be in a form, for which Qt takes a narrow column's height."""

    def sizeHint(self) -> QSize:
        width = min(self.fontMetrics().horizontalAdvance(self.text()) + _SPARE, _COLUMN)
        return QSize(width, self.heightForWidth(width))


class CodeFields(QObject):
    """The fields; nothing of the file runs here.

    Signals:
        changed: another file, class or argument is asked for.
        write_wanted: a Python file to fill in is asked for.
    """

    changed = Signal()
    write_wanted = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.path, self.choose = PathEdit(), QPushButton("Choose…")
        self.write = QPushButton("Write…")
        self.name, self.arguments = ComboBox(), LineEdit()
        self.note, self.trust = _Note("About the Python file"), QCheckBox(_TRUST)
        self._alone = self._weights = ""
        self._found: tuple[Declared, ...] = ()
        self._problem = ""
        self._seen: tuple[Path, bytes] | None = None
        self._name_all()
        self.choose.clicked.connect(self._ask)
        self.write.clicked.connect(self.write_wanted)
        self.path.textChanged.connect(lambda _text: self._changed())
        self.name.editTextChanged.connect(lambda _text: self._named())
        self.name.editTextChanged.connect(lambda _text: self.changed.emit())
        self.arguments.textEdited.connect(lambda _text: self.changed.emit())
        self.trust.clicked.connect(lambda _on: self.changed.emit())

    def _name_all(self) -> None:
        self.path.setPlaceholderText("for a network of your own: the .py file with its class")
        self.path.setAccessibleName("Python file")
        self.choose.setAccessibleName("Choose the Python file of the network")
        self.write.setAccessibleName("Write a Python file for the network")
        self.write.setToolTip("Write a net.py to fill in: the layers of the file, their shapes.")
        self.name.setEditable(True)
        self.name.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.name.setAccessibleName("Class or function")
        self.name.setToolTip("The class of the network, or a function that returns one.")
        edit = self.name.lineEdit()
        assert edit is not None
        edit.setAccessibleName("Class or function")
        edit.setPlaceholderText("of the network")
        edit.setAcceptDrops(False)
        self.arguments.setAccessibleName("Arguments")

    def add_rows(self, rows: QFormLayout) -> None:
        """Lay the fields out below the file."""
        self._rows = rows
        self._path_row = QWidget()
        line = QHBoxLayout(self._path_row)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.path, 1)
        line.addWidget(self.choose)
        line.addWidget(self.write)
        rows.addRow("Python file", self._path_row)
        rows.addRow("Class", self.name)
        rows.addRow("Arguments", self.arguments)
        rows.addRow("", self.note)
        rows.addRow("", self.trust)
        self.look()

    # -- what is shown ---------------------------------------------------------------------

    def put_file(self, file: str) -> None:
        """Another file is to be imported; a Python file makes its network with its weights."""
        self._alone = file if file_dialogs.is_code(Path(file)) else ""
        self._weights = file
        self._changed()

    def put(self, code: str) -> None:
        """Name the Python file."""
        self.path.setText(code)

    def clear(self) -> None:
        """Name none."""
        self.path.clear()
        self.arguments.clear()

    @property
    def file(self) -> str:
        """The Python file, as typed; empty if there is none."""
        return self._alone or self.path.text().strip()

    @property
    def alone(self) -> bool:
        """Whether the file to import is the Python file."""
        return bool(self._alone)

    def _changed(self) -> None:
        self.look()
        self.changed.emit()

    def look(self) -> None:
        """Read the file, if it is another than it was: its classes are found without running it."""
        seen, problem = None, ""
        if self.file:
            try:
                path = Path(self.file).expanduser()
                seen = path, read_code(path)
            except (CrumpleError, RuntimeError) as error:
                problem = getattr(error, "message", "") or str(error)
        if seen is None or seen != self._seen:
            self._take(seen, problem)
        self._show()

    def _take(self, seen: tuple[Path, bytes] | None, problem: str) -> None:
        same = seen is not None and self._seen is not None and seen[0] == self._seen[0]
        chosen = self.name.currentText() if same else ""
        self._seen, self._problem, self._found = seen, problem, ()
        self.trust.setChecked(False)  # it is another file now
        if seen is not None:
            try:
                self._found = declared(seen[0])
            except CrumpleError as error:
                self._problem = error.message
        with QSignalBlocker(self.name):
            self.name.clear()
            for one in self._found:
                self.name.addItem(one.name)
            self.name.setCurrentText(chosen or likely(self._found, self.alone))
        self._named()

    def _named(self) -> None:
        one = self._declared()
        takes = one.takes if one else ""
        self.arguments.setPlaceholderText(takes or ("none needed" if one else ""))
        self.arguments.setToolTip(f"It takes ({takes}); write them as Python does." if one else "")

    def _declared(self) -> Declared | None:
        name = self.name.currentText().strip()
        return next((one for one in self._found if one.name == name), None)

    @property
    def trusted(self) -> bool:
        """Whether a person trusted the file before, as it is now."""
        try:
            return self._seen is not None and extensions.makes_networks(*self._seen)
        except CrumpleError:  # the record cannot be read: it is asked
            return False

    def _show(self) -> None:
        there, trusted = self._seen is not None and not self._problem, self.trusted
        self._rows.setRowVisible(self._path_row, not self.alone)
        self.write.setVisible(bool(self._weights) and not self.file)
        for row in (self.name, self.arguments):
            self._rows.setRowVisible(row, there)
        self._rows.setRowVisible(self.trust, there and not trusted)
        if self._problem:
            self.note.tell(self._problem, "warning")
        elif there and trusted:
            self.note.tell("You trusted this file before, and it has not changed.")
        elif there:
            path = str(Path(self.file).expanduser().absolute())
            shown = path.replace("/", f"/{_BREAK}").replace("\\", f"\\{_BREAK}")
            self.note.tell(
                f"The import runs the code in {shown} once, with all your rights.", "warning"
            )
        else:
            self.note.tell("")
        self._rows.setRowVisible(self.note, bool(self.note.text()))

    def _ask(self) -> None:
        path = file_dialogs.ask_open(self.choose, "Python file of the network", file_dialogs.PYTHON)
        if path is not None:
            self.put(str(path))

    # -- what is asked for -----------------------------------------------------------------

    def objection(self) -> tuple[str, QWidget | None] | None:
        """What is missing, and the field that it is missing in; None is the file to import."""
        if not self.file:
            return None
        self.look()
        if self._problem:
            return self._problem, None if self.alone else self.path
        name, one = self.name.currentText().strip(), self._declared()
        if not name:
            return "Choose the class of the network, or a function that returns it.", self.name
        text = self.arguments.text().strip()
        if one is not None and one.needs and not text:
            needs = ", ".join(one.needs)
            return f"{name} needs {needs}: give the values it was trained with.", self.arguments
        try:
            parse_arguments(text)
        except CrumpleError as error:
            return str(error).replace("args is", "Arguments are", 1), self.arguments
        if not self.trusted and not self.trust.isChecked():
            return "A Python file runs code: confirm that you trust it.", self.trust
        return None

    def options(self, file: str) -> list[str]:
        """The file to import and the options of ``crumple import`` for its code."""
        if not self.file:
            return [file]
        code = f"{Path(self.file).expanduser().absolute()}:{self.name.currentText().strip()}"
        options = [code] if self.alone else [file, "--class", code]
        text = self.arguments.text().strip()
        options += ["--args", text] if text else []
        return [*options, "--trust-code"] if self.trust.isChecked() else options

    def point_at(self, option: str) -> QWidget | None:
        """The field of an option of the command line; None where the file to import is to blame."""
        self.look()
        if not self.file or self._problem:
            return None if self.alone else self.path
        if option == "args":
            return self.arguments
        return self.trust if option == "trust-code" and not self.trust.isHidden() else self.name
