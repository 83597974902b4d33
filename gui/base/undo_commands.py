"""What a person can undo. Pages emit these through ``Page.change``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PySide6.QtGui import QUndoCommand

from engine.store import Store
from gui.base.words import run_count
from gui.bridge.results_thread import ResultsThread


class DeleteRuns(QUndoCommand):
    """Hides runs from every list; undoing brings them back, nothing is erased.

    Args:
        results: writes, and tells what goes wrong.
        changed: told after each write whether they are deleted now.
    """

    def __init__(
        self, results: ResultsThread, run_ids: Sequence[int], changed: Callable[[bool], None]
    ) -> None:
        super().__init__(f"delete {run_count(len(run_ids))}")
        self._results, self._run_ids, self._changed = results, tuple(run_ids), changed

    def redo(self) -> None:
        self._write(True)

    def undo(self) -> None:
        self._write(False)

    def _write(self, deleted: bool) -> None:
        def write(store: Store) -> None:
            store.set_deleted(self._run_ids, deleted)

        self._results.write(self._results, write, lambda: self._changed(deleted))


class TagRuns(QUndoCommand):
    """Gives runs the same tags; undoing gives each its own back.

    Args:
        before: the present tags by run id.
        tags: the new ones, separated by commas.
        results: writes, and tells what goes wrong.
        changed: called after each write.
    """

    def __init__(
        self,
        results: ResultsThread,
        before: Mapping[int, str],
        tags: str,
        changed: Callable[[], None],
    ) -> None:
        super().__init__(f"tag {run_count(len(before))}")
        self._results, self._before, self._tags = results, dict(before), tags
        self._changed = changed

    def redo(self) -> None:
        self._write(dict.fromkeys(self._before, self._tags))

    def undo(self) -> None:
        self._write(self._before)

    def _write(self, tags: Mapping[int, str]) -> None:
        self._results.write(self._results, lambda store: store.tag(tags), self._changed)


class EditNote(QUndoCommand):
    """Gives a run another note."""

    def __init__(
        self,
        results: ResultsThread,
        run_id: int,
        before: str,
        after: str,
        changed: Callable[[], None],
    ) -> None:
        super().__init__(f"note of run {run_id}")
        self._results, self._run_id, self._changed = results, run_id, changed
        self._before, self._after = before, after

    def redo(self) -> None:
        self._write(self._after)

    def undo(self) -> None:
        self._write(self._before)

    def _write(self, text: str) -> None:
        def write(store: Store) -> None:
            store.annotate(self._run_id, note=text)

        self._results.write(self._results, write, self._changed)


class ReplaceDraft(QUndoCommand):
    """Another study stands in New; made after the fact, so that its first redo does nothing.

    Undone and redone, each side comes back as it was left, with all that was typed since.

    Args:
        text: what was done.
        put: shows a draft.
        draft: the one that stands there now.
        before: the one that stood there.
    """

    def __init__(
        self, text: str, put: Callable[[Any], None], draft: Callable[[], Any], before: Any
    ) -> None:
        super().__init__(text)
        self._put, self._draft, self._other = put, draft, before
        self._done = True

    def redo(self) -> None:
        if self._done:
            self._done = False
        else:
            self._swap()

    def undo(self) -> None:
        self._swap()

    def _swap(self) -> None:
        present = self._draft()
        self._put(self._other)
        self._other = present
