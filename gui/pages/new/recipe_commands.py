"""What can be undone in the recipes of New.

Each edit has been done when its command is made, so that it works without an undo stack; the
first ``redo``, which a stack calls, does nothing. A recipe that is not there any more, because
another study was opened, makes its commands obsolete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from PySide6.QtGui import QUndoCommand

from gui.pages.new.recipe_block import RecipeBlock

Find = Callable[[], RecipeBlock | None]


class Shelf(Protocol):
    """Where recipes stand.

    Attributes:
        generation: another number for another study.
    """

    generation: int

    def find_recipe(self, token: int) -> RecipeBlock | None:
        """The recipe of a token, if it is there."""

    def insert_recipe(self, position: int, token: int, table: Mapping[str, Any]) -> None:
        """Put a recipe at a place."""

    def take_recipe(self, token: int) -> tuple[int, dict[str, Any]]:
        """Take a recipe out; gives its place and its table."""


class _Done(QUndoCommand):
    """An edit that was made before its command."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._done = True

    def redo(self) -> None:
        if self._done:
            self._done = False
        else:
            self.again()

    def again(self) -> None:
        """Do it once more, after it was undone."""
        raise NotImplementedError


class MoveStep(_Done):
    """A step stands at another place."""

    def __init__(self, find: Find, position: int, to: int) -> None:
        super().__init__(f"move step {position + 1}")
        self._find, self._place, self._to = find, position, to

    def again(self) -> None:
        self._move(self._place, self._to)

    def undo(self) -> None:
        self._move(self._to, self._place)

    def _move(self, position: int, to: int) -> None:
        block = self._find()
        if block is None or max(position, to) >= len(block.rows):
            self.setObsolete(True)
        else:
            block.move_step(position, to)


class AddStep(_Done):
    """A step was added; undone, it is kept as it stood then."""

    def __init__(self, find: Find, position: int) -> None:
        super().__init__(f"add step {position + 1}")
        self._find, self._place = find, position
        self._table: Mapping[str, Any] = {}

    def again(self) -> None:
        _insert(self, self._find(), self._place, self._table)

    def undo(self) -> None:
        self._table = _take(self, self._find(), self._place)


class RemoveStep(_Done):
    """A step was removed."""

    def __init__(self, find: Find, position: int, table: Mapping[str, Any]) -> None:
        super().__init__(f"remove step {position + 1}")
        self._find, self._place, self._table = find, position, table

    def again(self) -> None:
        self._table = _take(self, self._find(), self._place)

    def undo(self) -> None:
        _insert(self, self._find(), self._place, self._table)


def _insert(
    command: QUndoCommand, block: RecipeBlock | None, position: int, table: Mapping[str, Any]
) -> None:
    if block is None:
        command.setObsolete(True)
    else:
        block.insert_step(position, table)


def _take(command: QUndoCommand, block: RecipeBlock | None, position: int) -> Mapping[str, Any]:
    if block is None or position >= len(block.rows):
        command.setObsolete(True)
        return {}
    return block.take_step(position)


class RemoveRecipe(_Done):
    """A recipe was removed, at this place and with this table."""

    def __init__(self, shelf: Shelf, token: int, position: int, table: Mapping[str, Any]) -> None:
        super().__init__("remove recipe")
        self._shelf, self._token, self._generation = shelf, token, shelf.generation
        self._place, self._table = position, table

    def again(self) -> None:
        if self._shelf.find_recipe(self._token) is None:
            self.setObsolete(True)
        else:
            self._place, self._table = self._shelf.take_recipe(self._token)

    def undo(self) -> None:
        if self._shelf.generation == self._generation:
            self._shelf.insert_recipe(self._place, self._token, self._table)
        else:
            self.setObsolete(True)
