"""What an import is asked: the file, the images to measure on, and what the file does not tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from engine import catalog
from engine.specs.dataset import CUT
from gui.base import file_dialogs
from gui.forms.fold import Fold
from gui.library.import_words import FIELDS
from gui.widgets.data_location import DataLocation
from gui.widgets.inputs import ComboBox, LineEdit, PathEdit, SpinBox
from gui.widgets.note_line import NoteLine

_MOST = 10_000_000
_TRUST = "I trust this file: importing it runs its code once, with all my rights"
_HINTS = {
    "name": "as the file is called",
    "arch": "recognised from the tensors, for example resnet-18",
    "density": "share of weights that Hydra masks keep, for example 0.1",
    "mean": "found by trying; else one number per channel: 0.485, 0.456, 0.406",
    "std": "with the mean: 0.229, 0.224, 0.225",
    "part": "which state dict, where the file holds several",
}


class ImportForm(QWidget):
    """The fields; what they ask for is a list of options of ``crumple import``.

    Signals:
        changed: something else is asked for.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.file, self.choose = PathEdit(), QPushButton("Choose…")
        self.function, self.trust = LineEdit(), QCheckBox(_TRUST)
        self.code_note = NoteLine("About Python files")
        self.dataset, self.location = ComboBox(), DataLocation()
        self.limit = SpinBox()
        self.lines = {key: LineEdit() for key in _HINTS}
        self._datasets = list(catalog.section("datasets"))
        self._crops: dict[str, Any] = {}
        self._lay_out()
        self._connect()
        self.put_images({"folder": ""})
        self._file_changed()

    def _lay_out(self) -> None:
        for id_ in self._datasets:
            self.dataset.addItem(catalog.find("datasets", id_).title)
        self.limit.setRange(0, _MOST)
        self.limit.setSpecialValueText("All images")
        self.limit.setGroupSeparatorShown(True)
        self.file.setPlaceholderText("a checkpoint, a network exported as .pt2, or net.py")
        self.function.setText("make")
        self.function.setToolTip("The function in the file that returns the network.")
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("File", self._file_row())
        self._code = self._code_rows()
        rows.addRow("", self._code)
        rows.addRow("Images", self.dataset)
        rows.addRow("", self.location)
        rows.addRow("At most", self.limit)
        rows.addRow(FIELDS["name"], self.lines["name"])
        self.dataset.setToolTip("The images that the clean accuracy is measured on.")
        self.more = Fold("What the file does not tell", self._rest(), "Import")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 8, 0)
        column.addLayout(rows)
        column.addWidget(self.more)
        column.addStretch()
        self._name_all()

    def _file_row(self) -> QWidget:
        row = QWidget()
        line = QHBoxLayout(row)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.file, 1)
        line.addWidget(self.choose)
        return row

    def _code_rows(self) -> QWidget:
        box = QWidget()
        column = QVBoxLayout(box)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.code_note)
        self.code_note.tell("A Python file is run once to export the network it makes.", "warning")
        row = QFormLayout()
        row.addRow("Function", self.function)
        column.addLayout(row)
        column.addWidget(self.trust)
        return box

    def _rest(self) -> QWidget:
        inside = QWidget()
        rows = QFormLayout(inside)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.setContentsMargins(24, 0, 0, 0)
        for key in ("arch", "density", "mean", "std", "part"):
            rows.addRow(FIELDS[key], self.lines[key])
        return inside

    def _name_all(self) -> None:
        for key, line in self.lines.items():
            line.setPlaceholderText(_HINTS[key])
            line.setAccessibleName(FIELDS[key])
        self.file.setAccessibleName("File to import")
        self.choose.setAccessibleName("Choose the file to import")
        self.function.setAccessibleName("Function")
        self.dataset.setAccessibleName("Images to measure on")
        self.limit.setAccessibleName("Measure on at most so many images")

    def _connect(self) -> None:
        self.choose.clicked.connect(self._ask_file)
        self.file.textChanged.connect(lambda _text: self._file_changed())
        for line in (self.function, *self.lines.values()):
            line.textEdited.connect(lambda _text: self.changed.emit())
        self.trust.clicked.connect(lambda _on: self.changed.emit())
        self.dataset.activated.connect(self._dataset_chosen)
        self.location.changed.connect(self.changed)

    # -- what is shown ---------------------------------------------------------------------

    def put_file(self, file: str) -> None:
        """Name the file, or published weights such as ``torchvision.resnet18``."""
        self.file.setText(file)

    def put_images(self, data: Mapping[str, Any]) -> None:
        """Choose the images, as the dataset table of a study file names them."""
        source = next((kind for kind in ("folder", "npz") if kind in data), "")
        kind = source or str(data.get("name", ""))
        if kind not in self._datasets:
            return
        self.dataset.setCurrentIndex(self._datasets.index(kind))
        self.location.put(kind, str(data.get(source or "root", "")))
        self.limit.setValue(int(data.get("limit") or 0))
        self._crops = {key: data[key] for key in ("resize", "crop") if key in data}
        self.changed.emit()

    def _dataset_chosen(self) -> None:
        self.location.put(self._kind(), "")
        self.changed.emit()

    def _kind(self) -> str:
        return self._datasets[self.dataset.currentIndex()]

    def _ask_file(self) -> None:
        path = file_dialogs.ask_open(self, "Import a model", file_dialogs.CHECKPOINTS)
        if path is not None:
            self.put_file(str(path))

    @property
    def runs_code(self) -> bool:
        """Whether the file is a Python file."""
        return self.file.text().strip().lower().endswith(".py")

    def _file_changed(self) -> None:
        self._code.setVisible(self.runs_code)
        self.trust.setChecked(False)  # it is another file now
        self.changed.emit()

    # -- what is asked for -----------------------------------------------------------------

    def images(self) -> dict[str, Any]:
        """The images, as the dataset table of a study file names them."""
        kind = self._kind()
        of_ones_own = kind in ("folder", "npz")
        data: dict[str, Any] = ({} if of_ones_own else {"name": kind}) | self.location.table()
        if self.limit.value():
            data["limit"] = self.limit.value()
        return data | (self._crops if kind in CUT else {})

    def objection(self) -> tuple[str, QWidget] | None:
        """What is missing, and the field that it is missing in."""
        if not self.file.text().strip():
            return "Choose the file of the model.", self.file
        if self.runs_code and not self.function.text().strip():
            return "Name the function that returns the network.", self.function
        if self.runs_code and not self.trust.isChecked():
            return "A Python file runs code: confirm that you trust it.", self.trust
        if "" in self.images().values():
            return "Choose where the images to measure on are.", self.location.path
        mean, std = (self.lines[key].text().strip() for key in ("mean", "std"))
        if bool(mean) != bool(std):
            empty = "std" if mean else "mean"
            return "Mean and Std belong together: give both or neither.", self.lines[empty]
        return None

    def options(self) -> list[str]:
        """The file and the options of ``crumple import`` for it."""
        file = self.file.text().strip()
        if Path(file).expanduser().exists():
            file = str(Path(file).expanduser().absolute())
        options = [f"{file}:{self.function.text().strip()}" if self.runs_code else file]
        if self.runs_code:
            options.append("--trust-code")
        for key, value in self.images().items():
            options += [f"--{'dataset' if key == 'name' else key}", str(value)]
        for key, line in self.lines.items():
            text = line.text().strip()
            if text:
                options += [f"--{key}", _commas(text) if key in ("mean", "std") else text]
        return options

    def point_at(self, option: str) -> None:
        """Put the cursor into the field of an option of the command line."""
        if option in self.lines:
            if option != "name":
                self.more.open(True)
            self.lines[option].setFocus()
            self.lines[option].selectAll()
        elif option in ("dataset", "folder", "npz", "root"):
            (self.location.path if self.location.path.isVisible() else self.dataset).setFocus()
        elif option == "trust-code":
            self.trust.setFocus()
        else:
            self.file.setFocus()


def _commas(text: str) -> str:
    return ",".join(text.replace(",", " ").split())
