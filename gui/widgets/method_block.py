"""One thing to tick in New, with the form of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
)

from engine import catalog
from gui.forms import ParamForm
from gui.widgets.icon_button import IconButton, TextButton


class MethodBlock(QFrame):
    """A method of the catalogue: a check box, its summary, and its form while it is ticked.

    Args:
        section: "compressions" or "attacks".
        entry_id: the method.
        extra: a further instance of a method, which can be removed.

    Signals:
        changed: ticked, unticked or a parameter changed.
        reached: it was ticked or has the keyboard.
        another: a further instance of the same method is wanted.
        removed: this further instance is not wanted any more.
    """

    changed = Signal()
    reached = Signal()
    another = Signal(str)
    removed = Signal()

    def __init__(self, section: str, entry_id: str, *, extra: bool = False) -> None:
        super().__init__()
        entry = catalog.find(section, entry_id)
        self._section, self.entry_id, self.extra = section, entry_id, extra
        self.form: ParamForm | None = None
        self._source: QLabel | None = None
        self.box = QCheckBox(entry.title)
        self.box.setAccessibleName(entry.title)
        self.box.setToolTip("\n".join(filter(None, (entry.summary, entry.limits, entry.paper))))
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 4)
        self._column.setSpacing(4)
        self._column.addLayout(self._head(entry.title))
        self._column.addWidget(_small(entry.summary))
        self.box.toggled.connect(self._toggled)
        self.box.clicked.connect(lambda _on: self.changed.emit())
        self.box.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.FocusIn:
            self.reached.emit()
        return super().eventFilter(watched, event)

    def _head(self, title: str) -> QHBoxLayout:
        row = QHBoxLayout()
        row.addWidget(self.box, 1)
        if self.extra:
            self.button = IconButton("close", f"Remove this {title}")
            self.button.clicked.connect(self.removed)
        else:
            self.button = IconButton("new", f"Add another {title}")
            self.button.clicked.connect(lambda: self.another.emit(self.entry_id))
        row.addWidget(self.button)
        return row

    def _toggled(self, on: bool) -> None:
        if on and self.form is None:
            self.form = ParamForm(self._section, self.entry_id)
            self.form.changed.connect(self.changed)
            self._column.addWidget(self.form)
        if self.form is not None:
            self.form.setVisible(on)
        self._show_source()

    def set_current(self, current: bool) -> None:
        """Mark it as the one that Enter ticks."""
        self.setProperty("current", current)
        self.style().polish(self)
        self._show_source()

    def _show_source(self) -> None:
        """Say where it comes from, and when it cannot be used, where one looks at it."""
        shown = self.box.isChecked() or bool(self.property("current"))
        if shown and self._source is None:
            entry = catalog.find(self._section, self.entry_id)
            self._source = _small("\n".join(filter(None, (entry.limits, entry.paper))))
            self._column.insertWidget(2, self._source)
        if self._source is not None:
            self._source.setVisible(shown and bool(self._source.text()))

    def put(self, table: Mapping[str, Any]) -> None:
        """Tick it and fill the form."""
        self.box.setChecked(True)
        if self.form is not None:
            self.form.put(table)

    def tables(self) -> list[dict[str, Any]]:
        """What it adds to the study: one table if it is ticked."""
        if not self.box.isChecked() or self.form is None:
            return []
        return [{"name": self.entry_id, **self.form.values()}]


def _small(text: str) -> QLabel:
    label = QLabel(text)
    label.setProperty("role", "small")
    label.setWordWrap(True)
    label.setContentsMargins(24, 0, 0, 0)
    return label


class _StepRow(QFrame):
    """One step of a recipe: which method, and its form."""

    changed = Signal()
    removed = Signal()

    def __init__(self, ids: list[str]) -> None:
        super().__init__()
        self._ids = ids
        self.combo = QComboBox()
        self.combo.addItems([catalog.find("compressions", one).title for one in ids])
        self.combo.setAccessibleName("Method of this step")
        self.remove = IconButton("close", "Remove this step")
        row = QHBoxLayout()
        row.addWidget(self.combo, 1)
        row.addWidget(self.remove)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addLayout(row)
        self.form = self._new_form()
        self.combo.activated.connect(self._switched)
        self.remove.clicked.connect(self.removed)

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

    def put(self, table: Mapping[str, Any]) -> None:
        self.combo.setCurrentIndex(self._ids.index(table["name"]))
        self._switched()
        self.form.put(table)

    def table(self) -> dict[str, Any]:
        return {"name": self._ids[self.combo.currentIndex()], **self.form.values()}


class RecipeBlock(QFrame):
    """Several steps, one after the other, that make one variant (or a sweep of them).

    Signals:
        changed: a step was added, removed or changed.
        removed: the recipe is not wanted any more.
    """

    changed = Signal()
    removed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("step")
        self._ids = [one for one in catalog.section("compressions") if one != "none"]
        self.rows: list[_StepRow] = []
        title = QLabel("Recipe of steps")
        title.setProperty("role", "heading")
        remove = IconButton("close", "Remove this recipe")
        remove.clicked.connect(self.removed)
        head = QHBoxLayout()
        head.addWidget(title, 1)
        head.addWidget(remove)
        self._steps = QVBoxLayout()
        self.add_button = TextButton("new", "Add step")
        self.add_button.clicked.connect(lambda: self._add_by_hand())
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.addLayout(head)
        column.addLayout(self._steps)
        column.addWidget(self.add_button, 0, Qt.AlignmentFlag.AlignLeft)

    def add_step(self, table: Mapping[str, Any] | None = None) -> None:
        """Append a step."""
        row = _StepRow(self._ids)
        if table:
            row.put(table)
        row.changed.connect(self.changed)
        row.removed.connect(lambda: self._remove(row))
        self.rows.append(row)
        self._steps.addWidget(row)

    def _add_by_hand(self) -> None:
        self.add_step()
        self.changed.emit()

    def _remove(self, row: _StepRow) -> None:
        self.rows.remove(row)
        row.hide()
        row.deleteLater()
        if not self.rows:
            self.removed.emit()
        self.changed.emit()

    def put(self, table: Mapping[str, Any]) -> None:
        """Show the steps of a recipe."""
        for step in table["steps"]:
            self.add_step(step)

    def tables(self) -> list[dict[str, Any]]:
        """What it adds to the study."""
        return [{"steps": [row.table() for row in self.rows]}] if self.rows else []


Block = MethodBlock | RecipeBlock
