"""One step of a recipe: which method, its form, and what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QFrame, QHBoxLayout, QLabel, QVBoxLayout

from engine import catalog
from gui.forms.param_form import ParamForm
from gui.widgets.icon_button import IconButton
from gui.widgets.inputs import ComboBox, add_key

MOVE_UP, MOVE_DOWN, COPY = "Ctrl+Shift+Up", "Ctrl+Shift+Down", "Ctrl+D"


class StepRow(QFrame):
    """A step with a number in front.

    Args:
        ids: the methods on offer.

    Signals:
        changed: another method or parameter.
        moved: by one place up (-1) or down (1).
        copied: the same step is wanted once more, below.
        removed: it is not wanted any more.
    """

    changed = Signal()
    moved = Signal(int)
    copied = Signal()
    removed = Signal()

    def __init__(self, ids: list[str]) -> None:
        super().__init__()
        self._ids = ids
        self.number = QLabel()
        self.number.setProperty("role", "heading")
        self.combo = ComboBox()
        self.combo.addItems([catalog.find("compressions", id_).title for id_ in ids])
        self.combo.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.up, self.down = IconButton("up", ""), IconButton("down", "")
        self.copy, self.remove = IconButton("copy", ""), IconButton("close", "")
        self._lay_out()
        self.form = self._new_form()
        self._connect()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(0)
        row.addWidget(self.number)
        row.addSpacing(6)
        row.addWidget(self.combo, 1)
        for button in (self.up, self.down, self.copy, self.remove):
            row.addWidget(button)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(4)
        self._column.addLayout(row)

    def _connect(self) -> None:
        self.combo.activated.connect(self._switched)
        self.up.clicked.connect(lambda: self.moved.emit(-1))
        self.down.clicked.connect(lambda: self.moved.emit(1))
        self.copy.clicked.connect(self.copied)
        self.remove.clicked.connect(self.removed)
        for keys, button in ((MOVE_UP, self.up), (MOVE_DOWN, self.down), (COPY, self.copy)):
            add_key(self, keys, button.click, within=True)

    def _new_form(self) -> ParamForm:
        form = ParamForm("compressions", self._ids[self.combo.currentIndex()])
        form.changed.connect(self.changed)
        self._column.addWidget(form)
        return form

    def _switched(self) -> None:
        self.form.hide()
        self.form.deleteLater()
        self.form = self._new_form()
        self.changed.emit()

    def set_place(self, position: int, count: int) -> None:
        """Say which step it is, from 0, of how many."""
        number = position + 1
        self.number.setText(str(number))
        self.combo.setAccessibleName(f"Method of step {number}")
        for button, what, keys in (
            (self.up, f"Move step {number} up", MOVE_UP),
            (self.down, f"Move step {number} down", MOVE_DOWN),
            (self.copy, f"Duplicate step {number}", COPY),
            (self.remove, f"Remove step {number}", ""),
        ):
            button.setAccessibleName(what)
            button.setToolTip(f"{what} ({keys})" if keys else what)
        self.up.setEnabled(position > 0)
        self.down.setEnabled(number < count)

    def put(self, table: Mapping[str, Any]) -> None:
        """Show a step of a study file."""
        self.combo.setCurrentIndex(self._ids.index(table["name"]))
        self._switched()
        self.form.put(table)

    def table(self) -> dict[str, Any]:
        """The step as it stands in a study file."""
        return {"name": self._ids[self.combo.currentIndex()], **self.form.values()}
