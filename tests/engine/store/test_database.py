"""Rows that are read by a function are those that a query gives, however it is ordered."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import StoreError
from engine.store import Writer
from engine.store.database import ResultsDatabase

ODD = (None, 0, -1, 2**62, 0.0, -0.0, 1e308, float("inf"), "", "a\0b", "ünï ☃", b"", b"\xff\0")
ORDERS = ("id", "-id", "value", "length(value), id")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[ResultsDatabase]:
    with Writer(tmp_path / "lab.db") as store:
        store.db.execute("CREATE TABLE odd (id INTEGER PRIMARY KEY, value)")
        store.db.conn.executemany("INSERT INTO odd (value) VALUES (?)", [(one,) for one in ODD])
        yield store.db


def _both(db: ResultsDatabase, rest: str) -> tuple[list[str], list[str]]:
    handed = db.rows(f"SELECT crumple_row(value, id, value) FROM odd {rest}")
    given = db.tuples(f"SELECT value, id, value FROM odd {rest}")
    return [repr(row) for row in handed], [repr(row) for row in given]


@pytest.mark.parametrize("order", ORDERS)
def test_rows_are_those_of_the_query(db: ResultsDatabase, order: str) -> None:
    handed, given = _both(db, f"ORDER BY {order}")
    assert handed == given
    assert len(handed) == len(ODD)
    assert _both(db, f"WHERE id > 3 ORDER BY {order} LIMIT 0") == ([], [])


@pytest.mark.parametrize("order", ["id", "-id"])
def test_queries_that_are_read_in_turns_or_left_keep_their_rows(
    db: ResultsDatabase, order: str
) -> None:
    sql = f"SELECT crumple_row(id, value) FROM odd ORDER BY {order}"
    list(itertools.islice(db.rows(sql), 3))  # left
    whole = [repr(row) for row in db.tuples(f"SELECT id, value FROM odd ORDER BY {order}")]
    for one, other, expected in zip(db.rows(sql), db.rows(sql), whole, strict=True):
        assert repr(one) == repr(other) == expected


def test_a_text_that_is_none_is_told(db: ResultsDatabase) -> None:
    db.execute("UPDATE odd SET value = CAST(x'ff' AS TEXT) WHERE id = 3")
    with pytest.raises(StoreError, match="damaged"):
        list(db.rows("SELECT crumple_row(value, id) FROM odd"))
