"""A recipe in New: steps to order, to duplicate and to remove, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout

from engine import catalog
from gui.pages.new.recipe_check import objection, outcome
from gui.pages.new.step_row import StepRow
from gui.widgets.icon_button import IconButton, TextButton


class RecipeBlock(QFrame):
    """Several steps, one after the other, that make one variant (or a sweep of them).

    Args:
        token: by which commands find it again.

    Signals:
        changed: a step was added, moved, removed or changed.
        added: a step stands at this place now.
        moved: a step from this place stands at that one.
        taken: the step that was at this place, with this table, is gone.
        removed: the recipe is not wanted any more.
    """

    changed = Signal()
    added = Signal(int)
    moved = Signal(int, int)
    taken = Signal(int, object)
    removed = Signal()

    def __init__(self, token: int = 0) -> None:
        super().__init__()
        self.token = token
        self.setObjectName("step")
        self._ids = [id_ for id_ in catalog.section("compressions") if id_ != "none"]
        self.rows: list[StepRow] = []
        self.title = QLabel("Recipe of steps")
        self.title.setProperty("role", "heading")
        remove = IconButton("close", "Remove this recipe")
        remove.clicked.connect(self.removed)
        head = QHBoxLayout()
        head.addWidget(self.title, 1)
        head.addWidget(remove)
        self._steps = QVBoxLayout()
        self._steps.setSpacing(8)
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.verdict.setAccessibleName("What comes of this recipe")
        self.add_button = TextButton("new", "Add step")
        self.add_button.clicked.connect(self._add_by_hand)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.addLayout(head)
        column.addLayout(self._steps)
        column.addWidget(self.verdict)
        column.addWidget(self.add_button, 0, Qt.AlignmentFlag.AlignLeft)
        self.changed.connect(self._judge)

    # -- steps -----------------------------------------------------------------------------

    def insert_step(self, position: int, table: Mapping[str, Any] | None = None) -> StepRow:
        """Put a step at a place, or at the end if there are fewer."""
        row = StepRow(self._ids)
        if table:
            row.put(table)
        row.changed.connect(self.changed)
        row.moved.connect(lambda by: self._move_by_hand(row, by))
        row.copied.connect(lambda: self._copy_by_hand(row))
        row.removed.connect(lambda: self._remove_by_hand(row))
        self.rows.insert(position, row)
        self._steps.insertWidget(self.rows.index(row), row)
        self._renumber()
        return row

    def add_step(self, table: Mapping[str, Any] | None = None) -> StepRow:
        """Append a step."""
        return self.insert_step(len(self.rows), table)

    def take_step(self, position: int) -> dict[str, Any]:
        """Take the step at a place out; gives its table."""
        row = self.rows.pop(position)
        table = row.table()
        self._steps.removeWidget(row)
        row.hide()
        row.deleteLater()
        self._renumber()
        return table

    def move_step(self, position: int, to: int) -> None:
        """Move a step; whatever has the keyboard keeps it."""
        row = self.rows.pop(position)
        self.rows.insert(to, row)
        self._steps.removeWidget(row)
        self._steps.insertWidget(to, row)
        self._renumber()

    def _renumber(self) -> None:
        for position, row in enumerate(self.rows):
            row.set_place(position, len(self.rows))
        self.changed.emit()

    # -- by hand: done at once, and told so that it can be undone ----------------------------

    def _add_by_hand(self) -> None:
        self.add_step().combo.setFocus()
        self.added.emit(len(self.rows) - 1)

    def _copy_by_hand(self, row: StepRow) -> None:
        position = self.rows.index(row) + 1
        self.insert_step(position, row.table()).combo.setFocus()
        self.added.emit(position)

    def _move_by_hand(self, row: StepRow, by: int) -> None:
        position = self.rows.index(row)
        if 0 <= position + by < len(self.rows):
            self.move_step(position, position + by)
            self.moved.emit(position, position + by)

    def _remove_by_hand(self, row: StepRow) -> None:
        if len(self.rows) == 1:
            self.removed.emit()
            return
        position = self.rows.index(row)
        table = self.take_step(position)
        self.rows[min(position, len(self.rows) - 1)].remove.setFocus()
        self.taken.emit(position, table)

    # -- what comes of it ------------------------------------------------------------------

    def _judge(self) -> None:
        steps = [row.table() for row in self.rows]
        wrong = objection(steps)
        makes = "" if wrong else outcome(steps)
        self.verdict.setText(wrong or (makes and f"Makes {makes}."))
        self.verdict.setVisible(bool(self.verdict.text()))
        self.verdict.setProperty("role", "error" if wrong else "small")
        self.verdict.style().polish(self.verdict)

    def put(self, table: Mapping[str, Any]) -> None:
        """Show the steps of a recipe."""
        for step in table["steps"]:
            self.add_step(step)

    def tables(self) -> list[dict[str, Any]]:
        """What it adds to the study."""
        return [{"steps": [row.table() for row in self.rows]}] if self.rows else []
