"""The first column of New: models, images, and the name of the study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from engine import catalog
from gui import files
from gui.widgets.column import Column

_OWN = ("folder", "npz")
_MOST = 10_000_000
_KEPT = 200


class DataColumn(Column):
    """Which models on which images.

    Signals:
        changed: what is asked for changed.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__("1  Model and data")
        self.name = QLineEdit()
        self.name.setMaxLength(120)
        self.models = {one: _model_box(one) for one in catalog.section("models")}
        self.dataset, self.path = QComboBox(), QLineEdit()
        self.limit = _number("All images", _MOST)
        self.seed = _number("", 2**31 - 1)
        self.keep = _number("None", _MOST)
        self._order = list(self.models)
        self._datasets = list(catalog.section("datasets"))
        for one in self._datasets:
            self.dataset.addItem(catalog.find("datasets", one).title)
        self._lay_out()
        self._connect()
        self.put({})

    def _lay_out(self) -> None:
        self.inside.addWidget(_heading("Models"))
        self._blocks = {one: _model_block(one, box) for one, box in self.models.items()}
        self._model_list = QVBoxLayout()
        for block in self._blocks.values():
            self._model_list.addWidget(block)
        self.inside.addLayout(self._model_list)
        self._choose = QPushButton("Choose…")
        self._own = QWidget()
        own = QHBoxLayout(self._own)
        own.setContentsMargins(0, 0, 0, 0)
        own.addWidget(self.path, 1)
        own.addWidget(self._choose)
        self.inside.addWidget(_heading("Study and data"))
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for label, name, widget in (
            ("Study", "Name of the study", self.name),
            ("Dataset", "Dataset", self.dataset),
            ("", "", self._own),
            ("Images", "Number of images", self.limit),
            ("Keep", "Images whose examples are kept", self.keep),
            ("Seed", "Seed", self.seed),
        ):
            rows.addRow(label, widget)
            widget.setAccessibleName(name)
        self.path.setAccessibleName("Path of the images")
        self.limit.setToolTip("A stratified, seeded subset of the test images.")
        self.keep.setToolTip("How many images of a run the Inspector can show.")
        self.seed.setToolTip("Decides the subset of images and every random start.")
        self.inside.addLayout(rows)
        self.inside.addStretch()

    def _connect(self) -> None:
        for box in self.models.values():
            box.clicked.connect(lambda _on: self.changed.emit())
        for line in (self.name, self.path):
            line.textEdited.connect(lambda _text: self.changed.emit())
        for number in (self.limit, self.seed, self.keep):
            number.valueChanged.connect(lambda _value: self.changed.emit())
        self.dataset.activated.connect(self._dataset_chosen)
        self._choose.clicked.connect(self._ask_path)

    def _dataset_chosen(self) -> None:
        self._show_own()
        self.changed.emit()

    def _show_own(self) -> None:
        kind = self._dataset_id()
        self._own.setVisible(kind in _OWN)
        self.path.setPlaceholderText("folder of pictures" if kind == "folder" else "file.npz")
        self.dataset.setToolTip(catalog.find("datasets", kind).summary)

    def _dataset_id(self) -> str:
        return self._datasets[self.dataset.currentIndex()]

    def _ask_path(self) -> None:
        if self._dataset_id() == "folder":
            path = files.ask_folder(self, "Folder with one directory per class")
        else:
            path = files.ask_open(self, "NumPy archive", files.ARCHIVES)
        if path is not None:
            self.path.setText(str(path))
            self.changed.emit()

    def put(self, draft: Mapping[str, Any]) -> None:
        """Show these tables of a study file; without them, the defaults."""
        self.blockSignals(True)
        data = draft.get("dataset", {})
        own = next((kind for kind in _OWN if data.get(kind)), "")
        kind = own or data.get("name", "")
        known = kind if kind in self._datasets else self._datasets[0]
        self.dataset.setCurrentIndex(self._datasets.index(known))
        self.path.setText(data.get(own, "") if own else "")
        self._show_own()
        self._put_models([model["name"] for model in draft.get("model", ())])
        self.limit.setValue(data.get("limit") or 0)
        self.seed.setValue(draft.get("seed", 0))
        self.keep.setValue(draft.get("keep_images", _KEPT))
        self.name.setText(draft.get("name", "Study"))
        self.name.setCursorPosition(0)
        self.blockSignals(False)

    def _put_models(self, chosen: list[str]) -> None:
        """Tick these and show them first, in the order of the study, as the other columns do."""
        known = [one for one in dict.fromkeys(chosen) if one in self.models]
        self._order = known + [one for one in self.models if one not in known]
        for one, box in self.models.items():
            box.setChecked(one in known)
        for one in self._order:
            self._model_list.removeWidget(self._blocks[one])
            self._model_list.addWidget(self._blocks[one])
        before: QWidget | None = None
        for one in self._order:
            if before is not None:
                QWidget.setTabOrder(before, self.models[one])
            before = self.models[one]

    def tables(self) -> dict[str, Any]:
        """The tables of the study file."""
        kind = self._dataset_id()
        data: dict[str, Any] = {kind if kind in _OWN else "name": kind}
        if kind in _OWN:
            data[kind] = self.path.text().strip()
        if self.limit.value():
            data["limit"] = self.limit.value()
        # In the order of the study file, so that opening and saving it changes nothing.
        ticked = [one for one in self._order if self.models[one].isChecked()]
        return {
            "name": self.name.text().strip(),
            "seed": self.seed.value(),
            "keep_images": self.keep.value(),
            "dataset": data,
            "model": [{"name": one} for one in ticked],
        }


def _number(zero: str, most: int) -> QSpinBox:
    box = QSpinBox()
    box.setRange(0, most)
    box.setGroupSeparatorShown(True)
    box.setSpecialValueText(zero)
    return box


def _heading(text: str) -> QLabel:
    label = QLabel(text)
    label.setProperty("role", "heading")
    return label


def _model_box(model_id: str) -> QCheckBox:
    box = QCheckBox(catalog.find("models", model_id).title)
    box.setAccessibleName(box.text())
    # A long title gives way in a narrow column, instead of pushing all else out of it.
    box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    box.setToolTip(box.text())
    return box


def _model_block(model_id: str, box: QCheckBox) -> QWidget:
    block = QWidget()
    column = QVBoxLayout(block)
    column.setContentsMargins(0, 0, 0, 4)
    column.setSpacing(4)
    column.addWidget(box)
    column.addWidget(_card_line(model_id))
    return block


def _card_line(model_id: str) -> QLabel:
    card = catalog.model_card(model_id)
    accuracy = f"clean {card.clean_accuracy * 100:.1f} % of {card.test_images:,}"
    label = QLabel(f"{card.summary}\n{card.parameters:,} parameters, {accuracy}")
    label.setProperty("role", "small")
    label.setWordWrap(True)
    label.setContentsMargins(24, 0, 0, 0)
    return label
