"""The second and third column of New: compressions and attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QMenu

from engine import catalog
from engine.catalog.presets import Preset, presets
from engine.specs.sweeps import is_recipe, steps_of
from gui.pages.new.column import StudyColumn
from gui.pages.new.method_block import MethodBlock
from gui.pages.new.method_group import MethodGroup, SearchLine, families, matches
from gui.pages.new.recipe_block import RecipeBlock
from gui.pages.new.recipe_commands import AddStep, MoveStep, RemoveRecipe, RemoveStep
from gui.widgets.icon_button import TextButton

Block = MethodBlock | RecipeBlock
Mark = tuple[int, tuple[int, ...]]
"""Which study stands in a column, and the tokens of its recipes in order."""

_BASELINE = "none"
_FEW = 8
"""So many methods need neither groups nor a search."""


class MethodColumn(StudyColumn):
    """All methods of a section of the catalogue, to search, to tick and to set; ``put`` fills it.

    What the study uses stands first, in its order; below it the families, which build their
    methods when they are opened.

    Args:
        title: heading.
        section: "compressions" or "attacks".

    Signals:
        changed: what is asked for changed.
        described: this method (section, id) is looked at.
        change: an undoable command (``gui.pages.new.recipe_commands``) for what was just done.

    Attributes:
        generation: counts the studies that were put here.
    """

    change = Signal(object)
    changed = Signal()
    described = Signal(str, str)

    def __init__(self, title: str, section: str) -> None:
        super().__init__(title)
        self._section = section
        self._ids = [id_ for id_ in catalog.section(section) if id_ != _BASELINE]
        self._top: list[Block] = []
        self.groups: list[MethodGroup] = []
        self._current: MethodBlock | None = None
        self.generation = self._studies = self._tokens = 0
        self._given: list[int] = []
        self.search = SearchLine(len(self._ids), section)
        self.search.setVisible(len(self._ids) > _FEW)
        self.above.addWidget(self.search)
        if section == "compressions":
            self.above.addLayout(self._recipe_buttons())
            self.inside.addWidget(_baseline())
        self._first = self.inside.count()
        self.nothing = QLabel()
        self.nothing.setProperty("role", "muted")
        self.nothing.setWordWrap(True)
        self.inside.addWidget(self.nothing)
        self.inside.addStretch()
        self.search.textChanged.connect(self._searched)
        self.search.moved.connect(self._move)
        self.search.accepted.connect(self._accept)
        self.changed.connect(self._tell_groups)

    def _recipe_buttons(self) -> QHBoxLayout:
        """An empty recipe, or a well-known one to start from."""
        self.recipe_button = TextButton("new", "Add a recipe")
        self.recipe_button.setToolTip("Several compressions, one after the other, as one variant.")
        self.recipe_button.clicked.connect(self.add_recipe)
        self.preset_button = TextButton("crumple", "Known recipes")
        self.preset_button.setToolTip("Well-known recipes, to use as they are or to change.")
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        menu.aboutToShow.connect(partial(self._fill_presets, menu))
        self.preset_button.setMenu(menu)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.recipe_button)
        row.addWidget(self.preset_button)
        row.addStretch()
        return row

    @property
    def blocks(self) -> list[Block]:
        """All blocks that are built, from above."""
        return [*self._top, *(block for group in self.groups for block in group.blocks)]

    # -- the study -------------------------------------------------------------------------

    def mark(self) -> Mark:
        """With it, ``put`` makes the same study of the same tables, for older commands too."""
        recipes = (block.token for block in self._top if isinstance(block, RecipeBlock))
        return self.generation, tuple(recipes)

    def put(self, tables: Sequence[Mapping[str, Any]], mark: Mark | None = None) -> None:
        """Show what a study asks for, in its order, then all that it does not use."""
        self._clear()
        self._studies += 1
        self.generation, given = mark or (self._studies, ())
        self._given = list(given)
        # "none" is part of every study, so a table that names it adds nothing.
        for table in (table for table in tables if table.get("name") != _BASELINE):
            self._insert(table)
        used = {block.entry_id for block in self._top if isinstance(block, MethodBlock)}
        unused = [id_ for id_ in self._ids if id_ not in used]
        if len(self._ids) <= _FEW:
            for entry_id in unused:
                self._add_on_top(MethodBlock(self._section, entry_id))
        else:
            for family, ids in families(unused, self._section).items():
                self._add_group(MethodGroup(family, ids))
            self.groups[0].expand(not used)
        self._given = []
        self._searched("")

    def renew(self) -> bool:
        """Offer what the catalogue has now; what is ticked stays, where it still exists.

        True if there was anything new, or anything went.
        """
        known = catalog.section(self._section)
        ids = [one for one in known if one != _BASELINE]
        if ids == self._ids:
            return False
        tables, mark = self.tables(), self.mark()
        self._ids = ids
        steps = [steps_of(table) for table in tables]
        kept = [
            table
            for table, named in zip(tables, steps, strict=True)
            if all(step["name"] in known for step in named)
        ]
        self.put(kept, mark if kept == tables else None)
        return True

    def _clear(self) -> None:
        self.search.clear()
        for block in list(self.blocks):
            self._drop(block)
        for group in self.groups:
            self.inside.removeWidget(group)
            group.hide()
            group.deleteLater()
        self.groups = []

    def _insert(self, table: Mapping[str, Any]) -> None:
        if is_recipe(table):
            block: Block = RecipeBlock(self._token())
        else:
            again = any(getattr(block, "entry_id", "") == table["name"] for block in self._top)
            block = MethodBlock(self._section, table["name"], extra=again)
        block.put(table)
        self._add_on_top(block)

    def tables(self) -> list[dict[str, Any]]:
        """The tables of the study file."""
        return [table for block in self.blocks for table in block.tables()]

    def add_recipe(self) -> None:
        """Begin a recipe with one step."""
        self._new_recipe([{"name": self._ids[0]}]).rows[0].combo.setFocus()

    def _fill_presets(self, menu: QMenu) -> None:
        """Only now: what a recipe is called hangs on the parameters of its methods."""
        for preset in presets() if menu.isEmpty() else ():
            action = menu.addAction(preset.name, lambda chosen=preset: self.add_preset(chosen))
            words = preset.summary, preset.longer, preset.paper
            action.setToolTip("\n".join(filter(None, words)))

    def add_preset(self, preset: Preset) -> None:
        """Add a well-known recipe."""
        self._new_recipe(preset.steps).add_button.setFocus()

    def _new_recipe(self, steps: Sequence[Mapping[str, Any]]) -> RecipeBlock:
        self.search.clear()
        block = RecipeBlock(self._token())
        block.put({"steps": steps})
        # Behind what is used, but not below a list of what is not.
        used = [isinstance(block, RecipeBlock) or block.box.isChecked() for block in self._top]
        position = used.index(False) if False in used else len(used)
        self._add(block, position)
        self.changed.emit()
        self.area.ensureWidgetVisible(block)
        return block

    # -- recipes, for their commands ---------------------------------------------------------

    def _token(self) -> int:
        if self._given:
            return self._given.pop(0)
        self._tokens += 1
        return self._tokens

    def find_recipe(self, token: int) -> RecipeBlock | None:
        """The recipe of a token, if it is here."""
        recipes = [block for block in self._top if isinstance(block, RecipeBlock)]
        return next((block for block in recipes if block.token == token), None)

    def insert_recipe(self, position: int, token: int, table: Mapping[str, Any]) -> None:
        """Put a recipe at a place among the blocks on top."""
        block = RecipeBlock(token)
        block.put(table)
        self._add(block, min(position, len(self._top)))
        self.changed.emit()

    def take_recipe(self, token: int) -> tuple[int, dict[str, Any]]:
        """Take a recipe out; gives its place and its table."""
        block = self.find_recipe(token)
        assert block is not None
        position, table = self._top.index(block), block.tables()[0]
        self._remove(block)
        return position, table

    def _remove_recipe(self, token: int) -> None:
        position, table = self.take_recipe(token)
        self.change.emit(RemoveRecipe(self, token, position, table))

    def _watch_recipe(self, block: RecipeBlock) -> None:
        find = partial(self.find_recipe, block.token)
        change = self.change
        block.removed.connect(lambda: self._remove_recipe(block.token))
        block.added.connect(lambda position: change.emit(AddStep(find, position)))
        block.moved.connect(lambda position, to: change.emit(MoveStep(find, position, to)))
        block.taken.connect(lambda position, table: change.emit(RemoveStep(find, position, table)))

    # -- blocks and groups -----------------------------------------------------------------

    def block(self, entry_id: str) -> MethodBlock:
        """The first block of a method; built if it is not there yet."""
        for block in self.blocks:
            if isinstance(block, MethodBlock) and block.entry_id == entry_id:
                return block
        group = next(group for group in self.groups if entry_id in group.entry_ids)
        return self._build(group, entry_id)

    def _build(self, group: MethodGroup, entry_id: str) -> MethodBlock:
        block, position = MethodBlock(self._section, entry_id), group.place_of(entry_id)
        self._add_to_group(group, block, position)
        return block

    def _add_group(self, group: MethodGroup) -> None:
        end = self._first + len(self.blocks) + len(self.groups)
        self.inside.insertWidget(end, group)
        self.groups.append(group)
        group.folded.connect(self._show)

    def _add_on_top(self, block: Block) -> None:
        self._add(block, len(self._top))

    def _add_to_group(self, group: MethodGroup, block: MethodBlock, position: int) -> None:
        # Expanding is what builds, so by now the group has its heading in the layout.
        group.blocks.insert(position, block)
        self._show_at(self.inside.indexOf(group) + 1 + position, block)

    def _add(self, block: Block, position: int) -> None:
        self._top.insert(position, block)
        self._show_at(self._first + position, block)

    def _show_at(self, line: int, block: Block) -> None:
        self.inside.insertWidget(line, block)
        block.changed.connect(self.changed)
        if isinstance(block, RecipeBlock):
            self._watch_recipe(block)
        else:
            block.removed.connect(lambda: self._remove(block))
            block.another.connect(lambda _id: self._add_another(block))
            block.reached.connect(lambda: self.described.emit(self._section, block.entry_id))

    def _add_another(self, block: MethodBlock) -> None:
        extra = MethodBlock(self._section, block.entry_id, extra=True)
        block.box.setChecked(True)
        extra.put(block.tables()[0])
        group = next((group for group in self.groups if block in group.blocks), None)
        if group is None:
            self._add(extra, self._top.index(block) + 1)
        else:
            self._add_to_group(group, extra, group.blocks.index(block) + 1)
        self.changed.emit()

    def _remove(self, block: Block) -> None:
        self._drop(block)
        self.changed.emit()

    def _drop(self, block: Block) -> None:
        if block in self._top:
            self._top.remove(block)
        for group in self.groups:
            if block in group.blocks:
                group.blocks = [other for other in group.blocks if other is not block]
        if block is self._current:
            self._current = None
        self.inside.removeWidget(block)
        block.hide()
        block.deleteLater()

    # -- searching -------------------------------------------------------------------------

    def _found(self, entry_id: str) -> bool:
        return matches(catalog.find(self._section, entry_id), self.search.text())

    def _searched(self, text: str) -> None:
        self._show()
        self._set_current(next(iter(self._choices()), None) if text.strip() else None)

    def _show(self) -> None:
        """Show what is searched for; without a search, what is open or ticked."""
        searching = bool(self.search.text().strip())
        for group in self.groups:
            matching = [id_ for id_ in group.entry_ids if searching and self._found(id_)]
            for entry_id in group.missing():
                if (group.expanded and not searching) or entry_id in matching:
                    self._build(group, entry_id)
            for block in group.blocks:
                is_open = group.expanded or block.box.isChecked()
                block.setVisible(block.entry_id in matching if searching else is_open)
            group.setVisible(bool(matching) or not searching)
        for on_top in self._top:
            known = isinstance(on_top, MethodBlock) and self._found(on_top.entry_id)
            on_top.setVisible(known or not searching)
        self.nothing.setText(_nothing(self.search.text(), self._section))
        self.nothing.setVisible(searching and not self._choices())
        self._tell_groups()

    def _tell_groups(self) -> None:
        searching = bool(self.search.text().strip())
        for group in self.groups:
            matching = sum(map(self._found, group.entry_ids)) if searching else None
            group.tell(matching)

    def _choices(self) -> list[MethodBlock]:
        """What is listed and can be ticked, from above."""
        return [b for b in self.blocks if isinstance(b, MethodBlock) and not b.isHidden()]

    def _set_current(self, block: MethodBlock | None) -> None:
        if self._current is not None:
            self._current.set_current(False)
        self._current = block
        if block is not None:
            block.set_current(True)
            self.area.ensureWidgetVisible(block)
            self.described.emit(self._section, block.entry_id)

    def _move(self, by: int) -> None:
        choices = self._choices()
        if not choices:
            return
        at = choices.index(self._current) + by if self._current in choices else 0
        self._set_current(choices[max(0, min(at, len(choices) - 1))])

    def _accept(self) -> None:
        """Tick the current method; the next search replaces the text."""
        if self._current is not None and not self._current.box.isChecked():
            self._current.box.setChecked(True)
            self.changed.emit()
        self.search.selectAll()


def _nothing(text: str, section: str) -> str:
    return f"None of the {section} has “{text.strip()}” in its name, family, norm or source."


def _baseline() -> QCheckBox:
    box = QCheckBox("None (baseline): always included")
    box.setChecked(True)
    box.setEnabled(False)
    box.setAccessibleName("None, the baseline, is always included")
    return box
