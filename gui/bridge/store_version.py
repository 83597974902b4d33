"""Whether the results changed since a page last read them."""

from __future__ import annotations

from engine.store import Store

Version = tuple[int, int]


def store_version(store: Store) -> Version:
    """Changes with every write, by other processes and by this window itself.

    SQLite's data version tells of other connections only; the second number counts our own.
    """
    return store.data_version(), store.db.conn.total_changes
