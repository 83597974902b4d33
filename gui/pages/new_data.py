"""The first column of New: models, images, and the name of the study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from engine import catalog
from engine.catalog.datasets import ROOTED
from gui.pages.new_place import OWN, PlaceBox
from gui.widgets.column import Column

_CROPS = ("resize", "crop")
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
        self.dataset, self.place = QComboBox(), PlaceBox()
        self.limit = _number("All images", _MOST)
        self.train_limit = _number("All images", _MOST)
        self._crops: dict[str, int] = {}
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
        self.inside.addWidget(_heading("Study and data"))
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for label, name, widget in (
            ("Study", "Name of the study", self.name),
            ("Dataset", "Dataset", self.dataset),
            ("", "", self.place),
            ("Images", "Number of images", self.limit),
            ("Training", "Number of training images", self.train_limit),
            ("Keep", "Images whose examples are kept", self.keep),
            ("Seed", "Seed", self.seed),
        ):
            rows.addRow(label, widget)
            widget.setAccessibleName(name)
        self.limit.setToolTip("A stratified, seeded subset of the test images.")
        self.train_limit.setToolTip(
            "A stratified subset of the training images, for steps that learn or calibrate."
        )
        self.keep.setToolTip("How many images of a run the Inspector can show.")
        self.seed.setToolTip("Decides the subset of images and every random start.")
        self.inside.addLayout(rows)
        self.inside.addStretch()

    def _connect(self) -> None:
        for box in self.models.values():
            box.clicked.connect(lambda _on: self.changed.emit())
        self.name.textEdited.connect(lambda _text: self.changed.emit())
        for number in (self.limit, self.train_limit, self.seed, self.keep):
            number.valueChanged.connect(lambda _value: self.changed.emit())
        self.dataset.activated.connect(self._dataset_chosen)
        self.place.changed.connect(self.changed)

    def _dataset_chosen(self) -> None:
        self.place.put(self._dataset_id(), "")
        self._explain()
        self.changed.emit()

    def _explain(self) -> None:
        self.dataset.setToolTip(catalog.find("datasets", self._dataset_id()).summary)

    def _dataset_id(self) -> str:
        return self._datasets[self.dataset.currentIndex()]

    def put(self, draft: Mapping[str, Any]) -> None:
        """Show these tables of a study file; without them, the defaults."""
        self.blockSignals(True)
        data = draft.get("dataset", {})
        own = next((kind for kind in OWN if data.get(kind)), "")
        kind = own or data.get("name", "")
        known = kind if kind in self._datasets else self._datasets[0]
        self.dataset.setCurrentIndex(self._datasets.index(known))
        path = data.get(own, "") if own else data.get("root", "")
        self.place.put(known, path if known in (*OWN, *ROOTED) else "")
        self._crops = {key: data[key] for key in _CROPS if key in data}
        self._explain()
        self._put_models([model["name"] for model in draft.get("model", ())])
        self.limit.setValue(data.get("limit") or 0)
        self.train_limit.setValue(data.get("train_limit") or 0)
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
        data: dict[str, Any] = {} if kind in OWN else {"name": kind}
        data |= self.place.table()
        for key, box in (("limit", self.limit), ("train_limit", self.train_limit)):
            if box.value():
                data[key] = box.value()
        if kind == "imagenet":
            data |= self._crops
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
