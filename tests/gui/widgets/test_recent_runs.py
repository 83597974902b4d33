"""Which runs are listed and found: against a plain walk through all of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

import numpy as np
import pytest

from engine.store import Writer
from engine.store.run_changes import read_changes
from engine.store.run_table import RunTable
from gui.widgets.recent_runs import found, recent
from tests.benchmarks.large_store import queue, study
from tests.helpers.fresh_process import printed

_RUNS = 6


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    """Five studies of six runs, begun in any order; a third of the runs waits, one is deleted."""
    chance = Random(7)
    with Writer(tmp_path_factory.mktemp("recent") / "lab.db") as writer:
        for number in range(5):
            for run_id in queue(writer, study(f"study {number}", number, _RUNS)):
                began = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=chance.randrange(99))
                status = chance.choice(("waiting", "finished", "failed"))
                values = (status, began.isoformat() if status != "waiting" else None, run_id)
                writer.db.execute("UPDATE runs SET status = ?, started = ? WHERE id = ?", values)
        writer.set_deleted([9])
        yield writer


@pytest.fixture(scope="module")
def table(store: Writer) -> RunTable:
    table = RunTable()
    for part in read_changes(store.db, None):
        table.apply(part)
    return table


def begun(table: RunTable) -> np.ndarray:
    return table.shown() & table.where(("status",), lambda row: row["status"] != "waiting")


def test_all_that_began_are_listed_the_latest_first(store: Writer, table: RunTable) -> None:
    rows = [row for row in store.queue() if row["status"] != "waiting"]
    rows.sort(key=lambda row: (row["started"], row["run_id"]))
    listed = [row["run_id"] for row in table.rows(recent(table, begun(table)))]
    assert listed == [row["run_id"] for row in reversed(rows)]
    assert 9 not in listed


@pytest.mark.parametrize("most", [1, 4, 9])
def test_of_many_runs_those_of_the_newest_studies_are_listed(table: RunTable, most: int) -> None:
    listed = table.rows(recent(table, begun(table), most))
    assert len(listed) == most
    names = [one.name for one in table.studies()]
    wanted = begun(table)
    sizes = [int(wanted[table.places(one.run_ids)].sum()) for one in table.studies()]
    enough = next(n for n in range(1, 6) if sum(sizes[:n]) >= most)
    assert {row["study"] for row in listed} <= set(names[:enough])


def test_words_find_what_they_stand_in_and_only_what_is_offered(
    store: Writer, table: RunTable
) -> None:
    rows = [row for row in store.queue() if row["status"] != "waiting"]
    wanted = [
        row["run_id"] for row in rows if row["study"] == "study 3" and row["compression"] == "none"
    ]
    places = found(table, begun(table), 'study="study 3" compression=none')
    assert sorted(table.ids[places]) == sorted(wanted) != []
    assert list(found(table, begun(table), "no such words")) == []
    assert list(found(table, begun(table), "robust>")) == [], "not yet a filter"


def test_a_number_means_the_run_of_that_number_first(table: RunTable) -> None:
    wanted = begun(table)
    run_id = int(table.ids[np.flatnonzero(wanted)[0]])
    places = found(table, wanted, f" {run_id} ")
    assert table.ids[places[0]] == run_id
    assert len(set(places)) == len(places)
    waiting = int(table.ids[np.flatnonzero(~wanted)[0]])
    assert waiting not in table.ids[found(table, wanted, str(waiting))]


def test_runs_like_another_share_what_was_asked_for(store: Writer, table: RunTable) -> None:
    for row in table.rows(range(len(table.ids))):
        alike = table.ids[table.like(row, ("study", "attack"))]
        expected = [
            other["run_id"]
            for other in store.queue()
            if (other["study"], other["attack"]) == (row["study"], row["attack"])
        ]
        assert sorted(alike) == sorted(expected)


def test_no_page_imports_masked_arrays() -> None:
    """They take longer to import than a page may block the window, and nothing here uses them."""
    code = (
        "import sys\n"
        "from gui.pages import import_pages\n"
        "import_pages()\n"
        "from gui.widgets.recent_runs import recent\n"
        "from tests.helpers.run_tables import table_of\n"
        "table = table_of([{'run_id': 1, 'study': 'a', 'status': 'finished'}])\n"
        "print(len(recent(table, table.shown())), 'numpy.ma' in sys.modules)\n"
    )
    assert printed(code, without=(), chosen={}) == ["1", "False"]
