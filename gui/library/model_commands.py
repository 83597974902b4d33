"""What can be undone in the model library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtGui import QUndoCommand

from engine import catalog
from engine.catalog import ModelCard
from engine.catalog.models import library
from engine.catalog.models.library import Trashed
from engine.errors import CrumpleError, ModelError
from engine.store import Store
from gui.base.words import run_count

Tell = Callable[[CrumpleError], None]


class _LibraryCommand(QUndoCommand):
    """Does something with the files of a library; what fails is told and not remembered.

    Args:
        changed: called after each change.
        tell: is given what a person can mend.
    """

    def __init__(self, text: str, changed: Callable[[], None], tell: Tell) -> None:
        super().__init__(text)
        self._changed, self._tell = changed, tell

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except CrumpleError as error:
            self.setObsolete(True)
            self._tell(error)
        self._changed()


class DeleteModel(_LibraryCommand):
    """Moves a model to the trash; undoing brings it back."""

    def __init__(
        self, card: ModelCard, folder: Path, store: Store, changed: Callable[[], None], tell: Tell
    ) -> None:
        super().__init__(f"delete the model {card.title}", changed, tell)
        self._card, self._folder, self._store = card, folder, store
        self._gone: Trashed | None = None

    def redo(self) -> None:
        self._try(self._delete)

    def undo(self) -> None:
        self._try(self._restore)

    def _delete(self) -> None:
        check_unused(self._card, self._store)
        self._gone = library.delete(self._card, self._folder)

    def _restore(self) -> None:
        if self._gone is not None:
            library.restore(self._gone, self._folder)


class RestoreModel(_LibraryCommand):
    """Brings a model back from the trash; undoing deletes it again."""

    def __init__(
        self,
        gone: Trashed,
        folder: Path,
        store: Store,
        changed: Callable[[], None],
        tell: Tell,
    ) -> None:
        super().__init__(f"restore the model {gone.card.title}", changed, tell)
        self._gone, self._folder, self._store = gone, folder, store

    def redo(self) -> None:
        self._try(lambda: library.restore(self._gone, self._folder))

    def undo(self) -> None:
        self._try(self._delete)

    def _delete(self) -> None:
        check_unused(self._gone.card, self._store)
        self._gone = library.delete(self._gone.card, self._folder)


class EditModel(_LibraryCommand):
    """Gives a model another title and remark."""

    def __init__(
        self,
        card: ModelCard,
        folder: Path,
        title: str,
        remark: str,
        changed: Callable[[], None],
        tell: Tell,
    ) -> None:
        super().__init__(f"edit the model {card.title}", changed, tell)
        self._card, self._folder = card, folder
        self._after = (title, remark)

    def redo(self) -> None:
        self._write(*self._after)

    def undo(self) -> None:
        self._write(self._card.title, self._card.remark)

    def _write(self, title: str, remark: str) -> None:
        # The card of now: the model may have been imported again meanwhile.
        self._try(
            lambda: library.edit(
                catalog.model_card(self._card.id), self._folder, title=title, remark=remark
            )
        )


def check_unused(card: ModelCard, store: Store) -> None:
    """Refuse to delete what the queue needs.

    Raises:
        ModelError: runs that use the model wait or run.
    """
    if active := store.active_users(card.id):
        verb = "waits or is running" if active == 1 else "wait or are running"
        raise ModelError(
            f"The model {card.id!r} cannot be deleted: {run_count(active)} that "
            f"{'uses' if active == 1 else 'use'} it {verb}.",
            "Cancel these in the queue first.",
        )
