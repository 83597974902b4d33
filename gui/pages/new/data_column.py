"""The first column of New: models, images, and the name of the study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QLabel,
)

from engine import catalog
from engine.catalog.datasets import ROOTED
from engine.specs.dataset import CUT, DatasetSpec
from engine.specs.model_fit import ImagesFound, look_at
from gui.pages.new.column import StudyColumn
from gui.pages.new.draft import seed_table, seed_text
from gui.pages.new.model_list import ModelList
from gui.pages.new.sample_plan import SamplePlan
from gui.widgets.data_location import OWN, DataLocation
from gui.widgets.inputs import ComboBox, LineEdit, SpinBox
from gui.widgets.picture_cut import CutBox

_MOST = 10_000_000
_KEPT = 200


class DataColumn(StudyColumn):
    """Which models on which images.

    Args:
        database: the database whose library takes models that are downloaded.

    Signals:
        changed: what is asked for changed.
    """

    changed = Signal()

    def __init__(self, database: Path) -> None:
        super().__init__("1  Data and models")
        self.name = LineEdit()
        self.name.setMaxLength(120)
        self.model_list = ModelList(database)
        self.dataset, self.location, self.cut = ComboBox(), DataLocation(), CutBox()
        self.limit = _number("All images", _MOST)
        self.plan = SamplePlan(self.limit)
        self.train_limit = _number("All images", _MOST)
        self.seed = LineEdit()
        self.keep = _number("None", _MOST)
        self._datasets: list[str] = []
        self._images = ImagesFound()
        self.renew()
        self._lay_out()
        self._connect()
        self.put({})  # hides what is not asked for, before its width counts in the window's

    def renew(self) -> None:
        """Offer datasets that came since; one that went says so when it is wanted."""
        for id_, entry in catalog.section("datasets").items():
            if id_ not in self._datasets:
                self._datasets.append(id_)
                self.dataset.addItem(entry.title)

    def _lay_out(self) -> None:
        self.inside.addWidget(_heading("Study and data"))
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for label, name, widget in (
            ("Study", "Name of the study", self.name),
            ("Dataset", "Dataset", self.dataset),
            ("", "", self.location),
            ("", "", self.cut),
            ("Images", "Number of images", self.plan),
            ("Training", "Number of training images", self.train_limit),
            ("Keep", "Images whose examples are kept", self.keep),
            ("Seed", "Seed", self.seed),
        ):
            rows.addRow(label, widget)
            (widget.focusProxy() or widget).setAccessibleName(name)
        self.limit.setToolTip("A stratified, seeded subset of the test images.")
        self.train_limit.setToolTip(
            "A stratified subset of the training images, for steps that learn or calibrate."
        )
        self.keep.setToolTip("How many images of a run the Inspector can show.")
        self.seed.setPlaceholderText("0, or several: 0, 1, 2")
        self.seed.setToolTip(
            "Decides the subset of images and every random start. Several, such as 0, 1, 2, repeat "
            "all trainings and attacks with each of them, on the images of the first."
        )
        self.inside.addLayout(rows)
        # Below: what is said of models that do not fit then moves no choice of images.
        self.inside.addWidget(self.model_list)
        self.inside.addStretch()

    def _connect(self) -> None:
        self.model_list.changed.connect(self._look)
        self.model_list.changed.connect(self.changed)
        self.limit.valueChanged.connect(lambda _value: self._tell_size())
        for line in (self.name, self.seed):
            line.textEdited.connect(lambda _text: self.changed.emit())
        for number in (self.limit, self.train_limit, self.keep):
            number.valueChanged.connect(lambda _value: self.changed.emit())
        self.dataset.activated.connect(self._dataset_chosen)
        self.location.changed.connect(self._location_changed)
        self.cut.changed.connect(self._location_changed)

    @property
    def models(self) -> dict[str, QCheckBox]:
        """The box of each model, by id."""
        return self.model_list.models

    @property
    def downloading(self) -> bool:
        """Whether images or models are being fetched."""
        return self.location.downloading or self.model_list.ready.busy

    def _dataset_chosen(self) -> None:
        self.location.put(self._dataset_id(), "")
        self.cut.put(self._dataset_id(), {})
        self._explain()
        self._look()
        self.changed.emit()

    def _location_changed(self) -> None:
        self._look()
        self.changed.emit()

    def _look(self) -> None:
        """Mark the models that do not fit the chosen images."""
        try:
            images = look_at(DatasetSpec.model_validate(self._dataset_table()))
        except ValidationError:  # no path yet
            images = ImagesFound()
        self._images = images
        self._tell_size()
        self.model_list.judge(images, self._dataset_table())
        known = catalog.models.cards.cards()
        cards = [known[id_] for id_ in self.model_list.ticked() if id_ in known]
        self.cut.judge(self._dataset_table(), images, cards)

    def _tell_size(self) -> None:
        """Say what the number of images can show, as far as there is a number."""
        sizes = [size for size in (self.limit.value(), self._images.tests) if size]
        self.plan.tell(min(sizes, default=None))

    def _explain(self) -> None:
        self.dataset.setToolTip(catalog.find("datasets", self._dataset_id()).summary)

    def _dataset_id(self) -> str:
        return self._datasets[self.dataset.currentIndex()]

    def put(self, draft: Mapping[str, Any]) -> None:
        """Show these tables of a study file; without them, the defaults."""
        self.blockSignals(True)
        data = draft.get("dataset", {})
        source = next((kind for kind in OWN if data.get(kind)), "")
        kind = source or data.get("name", "")
        known = kind if kind in self._datasets else self._datasets[0]
        self.dataset.setCurrentIndex(self._datasets.index(known))
        path = data.get(source, "") if source else data.get("root", "")
        self.location.put(known, path if known in (*OWN, *ROOTED) else "")
        self.cut.put(known, data)
        self._explain()
        self.model_list.put([model["name"] for model in draft.get("model", ())])
        self.limit.setValue(data.get("limit") or 0)
        self.train_limit.setValue(data.get("train_limit") or 0)
        self.seed.setText(seed_text(draft))
        self.seed.setCursorPosition(0)
        self.keep.setValue(draft.get("keep_images", _KEPT))
        self.name.setText(draft.get("name", "Study"))
        self.name.setCursorPosition(0)
        self._look()
        self.blockSignals(False)

    def tables(self) -> dict[str, Any]:
        """The tables of the study file."""
        return {
            "name": self.name.text().strip(),
            **seed_table(self.seed.text()),
            "keep_images": self.keep.value(),
            "dataset": self._dataset_table(),
            "model": [{"name": id_} for id_ in self.model_list.ticked()],
        }

    def _dataset_table(self) -> dict[str, Any]:
        kind = self._dataset_id()
        data: dict[str, Any] = {} if kind in OWN else {"name": kind}
        data |= self.location.table()
        for key, box in (("limit", self.limit), ("train_limit", self.train_limit)):
            if box.value():
                data[key] = box.value()
        return data | (self.cut.table() if kind in CUT else {})


def _number(zero: str, most: int) -> SpinBox:
    box = SpinBox()
    box.setRange(0, most)
    box.setGroupSeparatorShown(True)
    box.setSpecialValueText(zero)
    return box


def _heading(text: str) -> QLabel:
    label = QLabel(text)
    label.setProperty("role", "heading")
    return label
