"""What an import is asked: the file, the images to measure on, and what the file does not tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFormLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from engine import catalog
from engine.specs.dataset import CUT, DatasetSpec
from engine.specs.model_fit import ImagesFound, look_at
from gui.base import file_dialogs
from gui.forms.fold import Fold
from gui.library.code_fields import CodeFields
from gui.library.import_words import FIELDS
from gui.widgets.data_location import DataLocation
from gui.widgets.inputs import ComboBox, LineEdit, PathEdit, SpinBox
from gui.widgets.picture_cut import CutBox

_MOST = 10_000_000
_HINTS = {
    "name": "as the file is called",
    "arch": "recognised from the tensors, for example resnet-18",
    "density": "share of weights that Hydra masks keep, for example 0.1",
    "mean": "found by trying; else one number per channel: 0.485, 0.456, 0.406",
    "std": "with the mean: 0.229, 0.224, 0.225",
    "part": "which state dict, where the file holds several",
    "candidate": "found by trying; else the number of a network that the shapes allow",
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
        self.code = CodeFields(self)
        self.dataset, self.location, self.cut = ComboBox(), DataLocation(), CutBox()
        self.limit = SpinBox()
        self.lines = {key: LineEdit() for key in _HINTS}
        self._datasets = list(catalog.section("datasets"))
        self._mixed = False
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
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("File", self._file_row())
        self.code.add_rows(rows)
        rows.addRow("Images", self.dataset)
        rows.addRow("", self.location)
        rows.addRow("", self.cut)
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

    def _rest(self) -> QWidget:
        inside = QWidget()
        rows = QFormLayout(inside)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.setContentsMargins(24, 0, 0, 0)
        for key in ("arch", "density", "mean", "std", "part", "candidate"):
            rows.addRow(FIELDS[key], self.lines[key])
        return inside

    def _name_all(self) -> None:
        for key, line in self.lines.items():
            line.setPlaceholderText(_HINTS[key])
            line.setAccessibleName(FIELDS[key])
        self.file.setAccessibleName("File to import")
        self.choose.setAccessibleName("Choose the file to import")
        self.dataset.setAccessibleName("Images to measure on")
        self.limit.setAccessibleName("Measure on at most so many images")

    def _connect(self) -> None:
        self.choose.clicked.connect(self._ask_file)
        self.file.textChanged.connect(lambda _text: self._file_changed())
        for line in self.lines.values():
            line.textEdited.connect(lambda _text: self.changed.emit())
        self.code.changed.connect(self.changed)
        self.dataset.activated.connect(self._dataset_chosen)
        for part in (self.location, self.cut):
            part.changed.connect(self._images_changed)

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
        self.cut.put(kind, data)
        self._images_changed()

    def _dataset_chosen(self) -> None:
        self.location.put(self._kind(), "")
        self.cut.put(self._kind(), {})
        self._images_changed()

    def _images_changed(self) -> None:
        """Look at the images from outside: whether they are of one size."""
        try:
            look = look_at(DatasetSpec.model_validate(self.images()))
        except ValidationError:  # no path yet
            look = ImagesFound()
        self._mixed = look.mixed
        self.cut.judge(self.images(), look, [])
        self.changed.emit()

    def _kind(self) -> str:
        return self._datasets[self.dataset.currentIndex()]

    def _ask_file(self) -> None:
        path = file_dialogs.ask_open(self, "Import a model", file_dialogs.CHECKPOINTS)
        if path is not None:
            self.put_file(str(path))

    def _file_changed(self) -> None:
        self.lines["candidate"].clear()  # it is another file now
        self.code.put_file(self.file.text().strip())

    def add(self, file: str) -> bool:
        """Take a file beside the one that is named, if one of them is Python and one is not."""
        there = self.file.text().strip()
        pair = file_dialogs.weights_and_code([Path(there), Path(file)]) if there else []
        if pair:
            self.file.setText(str(pair[0]))
            self.code.put(str(pair[1]))
        return bool(pair)

    # -- what is asked for -----------------------------------------------------------------

    def images(self) -> dict[str, Any]:
        """The images, as the dataset table of a study file names them."""
        kind = self._kind()
        of_ones_own = kind in ("folder", "npz")
        data: dict[str, Any] = ({} if of_ones_own else {"name": kind}) | self.location.table()
        if self.limit.value():
            data["limit"] = self.limit.value()
        return data | (self.cut.table() if kind in CUT else {})

    def objection(self) -> tuple[str, QWidget] | None:
        """What is missing, and the field that it is missing in."""
        if not self.file.text().strip():
            return "Choose the file of the model.", self.file
        if (about_code := self.code.objection()) is not None:
            return about_code[0], about_code[1] or self.file
        if "" in self.images().values():
            return "Choose where the images to measure on are.", self.location.path
        if self._mixed:
            return "The pictures differ in size: resize and crop them.", self.cut.boxes["resize"]
        mean, std = (self.lines[key].text().strip() for key in ("mean", "std"))
        if bool(mean) != bool(std):
            empty = "std" if mean else "mean"
            return "Mean and Std belong together: give both or neither.", self.lines[empty]
        return None

    def weights(self) -> str:
        """The file to import, or the published name, as the command line takes it."""
        file = self.file.text().strip()
        path = Path(file).expanduser()
        return str(path.absolute()) if path.exists() else file

    def options(self) -> list[str]:
        """The file and the options of ``crumple import`` for it."""
        options = self.code.options(self.weights())
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
        elif option in self.cut.boxes:
            self.cut.boxes[option].setFocus()
        elif option in ("class", "args", "trust-code", "write-class"):
            (self.code.point_at(option) or self.file).setFocus()
        else:
            self.file.setFocus()


def _commas(text: str) -> str:
    return ",".join(text.replace(",", " ").split())
