"""The results on a thread of their own, so that the window never waits for the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import shiboken6
from PySide6.QtCore import QObject, Signal

from engine.errors import CrumpleError
from engine.store import Store

T = TypeVar("T")


class ResultsThread(QObject):
    """Does what it is asked with a connection of its own, one job after the other, in order.

    Args:
        path: the database.
        executor: does the jobs, one at a time; a thread of its own unless given.

    Signals:
        refused: a ``CrumpleError`` of a job whose asker does not want to hear of it.
    """

    refused = Signal(object)
    _arrived = Signal(object)

    def __init__(
        self, path: Path, parent: QObject | None = None, *, executor: Executor | None = None
    ) -> None:
        super().__init__(parent)
        self._path = path
        self._executor = executor or ThreadPoolExecutor(1, "results")
        self._local = threading.local()
        self._newest: dict[tuple[int, str], int] = {}
        self._count = 0
        self._closing = False
        self._arrived.connect(self._call)  # of this object: on the thread that it lives on

    def ask(
        self,
        asker: QObject,
        topic: str,
        job: Callable[[Store], T],
        answer: Callable[[T], None],
        refused: Callable[[CrumpleError], None] | None = None,
    ) -> None:
        """Do a job; its answer comes on the window's thread, if the asker still exists.

        Of several jobs of one asker on one topic only the last one is answered.
        """
        key, number = self._number(asker, topic)

        def work() -> None:
            if not self._closing and self._newest.get(key) == number:
                self._do(job, deliver, refuse)

        def deliver(result: T) -> None:
            if self._newest.get(key) == number:
                del self._newest[key]
                if shiboken6.isValid(asker):
                    answer(result)

        def refuse(error: CrumpleError) -> None:
            if self._newest.get(key) == number:
                del self._newest[key]
                self._refuse(asker, refused, error)

        self._submit(work)

    def stream(
        self,
        asker: QObject,
        job: Callable[[Store], Iterable[T]],
        answer: Callable[[T], None],
        done: Callable[[], None],
    ) -> None:
        """Do a job that gives its answer in parts; ``done`` comes last, also after an error."""

        def each(store: Store) -> None:
            for part in job(store):
                if self._closing:
                    return
                self._post(asker, partial(answer, part))

        def work() -> None:
            self._do(each, lambda _: None, lambda error: self._refuse(asker, None, error))
            self._post(asker, done)

        self._submit(work)

    def write(
        self, asker: QObject, job: Callable[[Store], object], done: Callable[[], None]
    ) -> None:
        """Do a job that writes; none is left out. ``done`` comes where it succeeded."""

        def deliver(_: object) -> None:
            if shiboken6.isValid(asker):
                done()

        def work() -> None:
            self._do(job, deliver, lambda error: self._refuse(asker, None, error))

        self._submit(work)

    def close(self) -> None:
        """Finish what writes, leave out what reads, and end the thread."""
        if self._closing:
            return
        self._closing = True
        self._executor.submit(self._close_store)
        self._executor.shutdown(wait=True)

    # -- on the thread ---------------------------------------------------------------------

    def _do(
        self,
        job: Callable[[Store], T],
        deliver: Callable[[T], None],
        refuse: Callable[[CrumpleError], None],
    ) -> None:
        try:
            result = job(self._store())
        except CrumpleError as error:
            self._arrived.emit(lambda error=error: refuse(error))
        except Exception as error:  # noqa: BLE001 - told by the window's thread
            self._arrived.emit(lambda error=error: _raise(error))
        else:
            self._arrived.emit(lambda: deliver(result))

    def _store(self) -> Store:
        if not hasattr(self._local, "store"):
            self._local.store = Store(self._path)
        store: Store = self._local.store
        return store

    def _close_store(self) -> None:
        if hasattr(self._local, "store"):
            self._local.store.close()

    # -- on the window's thread ------------------------------------------------------------

    def _submit(self, work: Callable[[], None]) -> None:
        if not self._closing:
            self._executor.submit(work)

    def _number(self, asker: QObject, topic: str) -> tuple[tuple[int, str], int]:
        key = id(asker), topic
        self._count += 1
        self._newest[key] = self._count
        return key, self._count

    def _call(self, what: Callable[[], Any]) -> None:
        what()

    def _post(self, asker: QObject, call: Callable[[], Any]) -> None:
        self._arrived.emit(lambda: call() if shiboken6.isValid(asker) else None)

    def _refuse(
        self,
        asker: QObject,
        refused: Callable[[CrumpleError], None] | None,
        error: CrumpleError,
    ) -> None:
        if refused is None:
            self.refused.emit(error)
        elif shiboken6.isValid(asker):
            refused(error)


def _raise(error: Exception) -> None:
    """A fault of the program is told where all of them are told."""
    raise error
