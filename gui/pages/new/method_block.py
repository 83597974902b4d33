"""One thing to tick in New, with the form of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QEvent, QObject, Signal
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
)

from engine import catalog
from gui.forms.param_form import ParamForm
from gui.pages.new.elided_check_box import ElidedCheckBox
from gui.widgets.icon_button import IconButton


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
        self.box = ElidedCheckBox(entry.title)
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
