"""How pictures are brought to the size of the models, and what they look like then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from engine.catalog.models.cards import ModelCard
from engine.specs.dataset import CUT
from engine.specs.model_fit import ImagesFound
from gui.base.png_files import read_png
from gui.bridge.engine_process import FileProcess
from gui.bridge.picture_process import preview_arguments
from gui.widgets.inputs import SpinBox
from gui.widgets.layouts import stack
from gui.widgets.note_line import NoteLine

_MOST = 4096
_UNCUT = {"folder": ("as it is", "as it is"), "imagenet": ("256", "224")}


class CutBox(QWidget):
    """Resize and crop; what the models ask for is proposed, and pictures are shown.

    Signals:
        changed: another size is asked for.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._table: dict[str, Any] = {}
        self._proposal = 0
        self._process: FileProcess | None = None
        self._folder: TemporaryDirectory[str] | None = None
        self.boxes = {"resize": SpinBox(), "crop": SpinBox()}
        self.propose, self.preview = QPushButton(), QPushButton("Preview")
        self.note, self.sheet = NoteLine("Size of the pictures"), QLabel()
        self._name()
        self._lay_out()
        for box in self.boxes.values():
            box.valueChanged.connect(lambda _value: self.changed.emit())
        self.propose.clicked.connect(self._take_proposal)
        self.preview.clicked.connect(self.draw)

    def _name(self) -> None:
        tips = {
            "resize": "The shorter side after resizing, in pixels.",
            "crop": "The side of the square cut from the middle, in pixels.",
        }
        for key, box in self.boxes.items():
            box.setRange(0, _MOST)
            box.setAccessibleName(key.title())
            box.setToolTip(tips[key])
        self.preview.setToolTip("Some pictures as a network will see them.")
        self.sheet.setAccessibleName("Pictures as a network will see them")
        self.sheet.hide()
        self.propose.hide()

    def _lay_out(self) -> None:
        first, last = QHBoxLayout(), QHBoxLayout()
        for key, box in self.boxes.items():
            label = QLabel(key)
            label.setBuddy(box)
            first.addWidget(label)
            first.addWidget(box, 1)
        for button in (self.propose, self.preview):
            last.addWidget(button)
        last.addStretch()
        column = stack(self, first, self.note, last)
        column.addWidget(self.sheet, 0, Qt.AlignmentFlag.AlignLeft)

    def put(self, kind: str, given: Mapping[str, Any]) -> None:
        """Show the sizes of a dataset."""
        self.setVisible(kind in CUT)
        self.blockSignals(True)
        for (key, box), words in zip(self.boxes.items(), _UNCUT.get(kind, ("", "")), strict=True):
            box.setSpecialValueText(words)
            box.setValue(given.get(key) or 0)
        self.blockSignals(False)

    def table(self) -> dict[str, int]:
        """What stands in the study file."""
        return {key: box.value() for key, box in self.boxes.items() if box.value()}

    def judge(self, table: Mapping[str, Any], look: ImagesFound, cards: list[ModelCard]) -> None:
        """Take in what is asked for, what the pictures are, and which models are ticked."""
        self._forget()
        self._table = dict(table)
        self.preview.setEnabled(bool(table.get("folder") or table.get("name")))
        sides = {card.shape[1] for card in cards if card.shape[1] == card.shape[2]}
        other = look.shape is not None and any(card.shape[1:] != look.shape[1:] for card in cards)
        self._proposal = sides.pop() if len(sides) == 1 and (look.mixed or other) else 0
        self.propose.setVisible(bool(self._proposal))
        self.propose.setText(f"Resize and crop to {self._proposal}")
        warning = "The pictures differ in size: resize and crop them." if look.mixed else ""
        self.note.tell(warning, "warning")

    def _take_proposal(self) -> None:
        side = self._proposal
        self.blockSignals(True)
        for box in self.boxes.values():
            box.setValue(side)
        self.blockSignals(False)
        self.changed.emit()
        self.draw()

    def draw(self) -> None:
        """Show some pictures; they are decoded in a process of their own."""
        self._forget()
        self._folder = TemporaryDirectory(prefix="crumple-")
        out = Path(self._folder.name) / "preview.png"
        self._process = FileProcess(preview_arguments(self._table, out), out, self)
        self._process.written.connect(self._show)
        self._process.refused.connect(self._refuse)
        self.preview.setEnabled(False)
        self._process.start()

    def _forget(self) -> None:
        """What was shown or is coming is of another choice."""
        if self._process is not None:
            self._process.blockSignals(True)
            self._process.stop()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        self.sheet.hide()
        self.preview.setEnabled(True)

    def _show(self, file: Path) -> None:
        picture = QPixmap.fromImage(read_png(file))
        self._process = None
        self._forget()
        self.sheet.setPixmap(picture)
        self.sheet.show()

    def _refuse(self, reason: str, _field: str) -> None:
        self._process = None
        self._forget()
        if reason:
            self.note.tell(reason, "error")
