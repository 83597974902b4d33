"""The second and third column of New: compressions and attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox

from engine import catalog
from gui.widgets.column import Column
from gui.widgets.icon_button import TextButton
from gui.widgets.method_block import Block, MethodBlock, RecipeBlock

_BASELINE = "none"


class MethodColumn(Column):
    """All methods of a section of the catalogue, to tick and to set.

    Args:
        title: heading.
        section: "compressions" or "attacks".

    Signals:
        changed: what is asked for changed.
    """

    changed = Signal()

    def __init__(self, title: str, section: str) -> None:
        super().__init__(title)
        self._section = section
        self.blocks: list[Block] = []
        if section == "compressions":
            self.inside.addWidget(_baseline())
        self._first = self.inside.count()
        if section == "compressions":
            button = TextButton("new", "Add a recipe of steps")
            button.setToolTip("Several compressions, one after the other, as one variant.")
            button.clicked.connect(self.add_recipe)
            self.inside.addWidget(button)
        self.inside.addStretch()
        self.put([])

    def put(self, tables: Sequence[Mapping[str, Any]]) -> None:
        """Show what a study asks for, in its order, then all that it does not use."""
        for block in list(self.blocks):
            self._drop(block)
        # "none" is part of every study, so a table that names it adds nothing.
        for table in (one for one in tables if one.get("name") != _BASELINE):
            self._insert(table)
        used = {block.entry_id for block in self.blocks if isinstance(block, MethodBlock)}
        for entry_id in catalog.section(self._section):
            if entry_id not in used and entry_id != _BASELINE:
                self._place(MethodBlock(self._section, entry_id), len(self.blocks))

    def _insert(self, table: Mapping[str, Any]) -> None:
        if self._section == "compressions" and "steps" in table:
            block: Block = RecipeBlock()
        else:
            again = any(getattr(one, "entry_id", "") == table["name"] for one in self.blocks)
            block = MethodBlock(self._section, table["name"], extra=again)
        block.put(table)
        self._place(block, len(self.blocks))

    def tables(self) -> list[dict[str, Any]]:
        """The tables of the study file."""
        return [table for block in self.blocks for table in block.tables()]

    def add_recipe(self) -> None:
        """Begin a recipe with one step."""
        block = RecipeBlock()
        block.add_step()
        self._place(block, len(self.blocks))
        self.changed.emit()

    def _add_another(self, block: MethodBlock) -> None:
        extra = MethodBlock(self._section, block.entry_id, extra=True)
        block.box.setChecked(True)
        extra.put(block.tables()[0])
        self._place(extra, self.blocks.index(block) + 1)
        self.changed.emit()

    def _place(self, block: Block, index: int) -> None:
        self.blocks.insert(index, block)
        self.inside.insertWidget(self._first + index, block)
        block.changed.connect(self.changed)
        block.removed.connect(lambda: self._remove(block))
        if isinstance(block, MethodBlock):
            block.another.connect(lambda _id: self._add_another(block))

    def _remove(self, block: Block) -> None:
        self._drop(block)
        self.changed.emit()

    def _drop(self, block: Block) -> None:
        self.blocks.remove(block)
        self.inside.removeWidget(block)
        block.hide()
        block.deleteLater()


def _baseline() -> QCheckBox:
    box = QCheckBox("None (baseline): always included")
    box.setChecked(True)
    box.setEnabled(False)
    box.setAccessibleName("None, the baseline, is always included")
    return box
