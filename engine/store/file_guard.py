"""Whether the file of a connection is still there, and may still be written by who has it open."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections import Counter
from pathlib import Path

from engine.errors import StoreError

_FORBIDDEN = {errno.EPERM, errno.EROFS}
"""To whoever has the file open, too: a read-only disk, an immutable file."""


_Identity = tuple[int, int]
_WRITABLE: Counter[_Identity] = Counter()
"""How many connections of this process are open to files that could be written at the time: all to
one file share what SQLite keeps of it, so that also those that are opened later would write."""


class FileGuard:
    """Asks, before SQLite does, what would end the process or write into nothing.

    SQLite shares memory in a file, where readers leave marks, too. A write there on a disk that
    was made read-only, or into a file that was made immutable, ends the process without a word
    (SIGBUS). Where it was so from the beginning SQLite knows, and writes nothing.

    Args:
        path: of the database, which a connection has just been opened to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _identity(path)
        self._counts = self._file is not None and self._forbidden() is None
        if self._file is not None and self._counts:
            _WRITABLE[self._file] += 1

    def check_reading(self) -> None:
        """See that a reader may leave its marks.

        Raises:
            StoreError: it may not.
        """
        if reason := self._came_to_be_forbidden():
            raise StoreError(
                f"The database {self._path} cannot be read any more: {reason}.",
                "Make the disk and the files writable, or start Crumple again.",
            )

    def check_writing(self) -> None:
        """See that the files may be written.

        Raises:
            StoreError: they may not.
        """
        if reason := self._forbidden():
            raise StoreError(
                f"The database {self._path} cannot be written any more: {reason}; what came after "
                "that is not stored.",
                "Make the disk and the files writable, then run the study again with --resume.",
            )

    def check_identity(self) -> None:
        """See that the file still has its name: SQLite goes on writing into one that has none.

        Raises:
            StoreError: it is gone, or another.
        """
        if _identity(self._path) != self._file:
            raise StoreError(
                f"The database {self._path} was deleted, moved or replaced while it was in use; "
                "what came after that is not stored.",
                "Put it back with the files beside it, then run the study again with --resume.",
            )

    def close(self, connection: sqlite3.Connection) -> None:
        """Close a connection; where that would write and must not, leave it to the end.

        With the last connection SQLite empties its log.
        """
        if self._came_to_be_forbidden():
            _hold(connection)  # and what SQLite keeps with it
        else:
            connection.close()
            self.release()

    def release(self) -> None:
        """The connection is closed, or was never made."""
        if self._file is not None and self._counts:
            self._counts = False
            _WRITABLE[self._file] -= 1

    def _came_to_be_forbidden(self) -> str | None:
        return self._forbidden() if self._file is not None and _WRITABLE[self._file] > 0 else None

    def _forbidden(self) -> str | None:
        """Why the files may not be written by whoever has them open; None if they may.

        The log is asked, as it bears no locks: to close another descriptor of the database
        itself would drop those of this process.
        """
        try:
            os.close(os.open(f"{self._path}-wal", os.O_RDWR))
        except OSError as error:
            return error.strerror if error.errno in _FORBIDDEN else None
        return None


def _hold(connection: sqlite3.Connection) -> None:
    """Keep a connection beyond the end of Python, which closes all that nobody holds."""
    wait = threading.Event().wait
    threading.Thread(target=lambda _: wait(), args=(connection,), daemon=True).start()


def _identity(path: Path) -> _Identity | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
