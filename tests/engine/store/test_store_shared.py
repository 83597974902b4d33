"""Databases in the hands of several processes, and files that change under them."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from engine.errors import StoreError
from engine.specs.study import Study
from engine.store import RunKeys, Store, Writer, file_guard
from engine.store.run_changes import read_changes
from engine.store.transfers import Pair
from tests.helpers.filled_store import STUDY, fill
from tests.helpers.patience import HANG

SAMPLE = {
    "index": 0,
    "label": 1,
    "clean_prediction": 1,
    "adversarial_prediction": 2,
    "clean_confidence": 0.9,
    "adversarial_confidence": 0.6,
    "broken": True,
    "l2": 1.0,
    "linf": 0.1,
    "forwards": 3,
    "backwards": 2,
    "broken_at_step": 1,
}
BATCH = {"start": 100, "size": 1, "seconds": 0.1, "telemetry": [], "notes": []}


def add_study(store: Writer) -> None:
    study = Study.from_dict({**STUDY, "seed": 5})
    store.add_study(
        study, [(run, RunKeys(f"k{i}", "v", "d")) for i, run in enumerate(study.runs())]
    )


WRITES: dict[str, Callable[[Writer], object]] = {
    "add a study": add_study,
    "start": lambda s: s.start_run(1, 5),
    "end": lambda s: s.end_run(1, "finished", n=20),
    "flag": lambda s: s.add_flag(1, {"id": "x", "level": "info", "text": ""}),
    "batch": lambda s: s.add_batch(1, BATCH, [SAMPLE], None),
    "clear": lambda s: s.clear_batches(1),
    "status": lambda s: s.set_status([1], "waiting", ["finished"]),
    "recover": lambda s: s.recover(),
    "move": lambda s: s.move([1], to_front=True),
    "stage": lambda s: s.put_stage("k", "variant", {}, 0.1),
    "verdicts": lambda s: s.refresh_verdicts(1),
    "tag": lambda s: s.annotate(1, tags="seen"),
    "delete": lambda s: s.set_deleted([1], deleted=True),
    "plan a transfer": lambda s: s.transfer_queue.plan([Pair(1, 2, "t")]),
    "start a transfer": lambda s: s.transfer_queue.start([Pair(1, 2, "t")]),
}


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    path = tmp_path / "lab.db"
    fill(path)
    return path


@pytest.fixture
def store(filled: Path) -> Iterator[Writer]:
    with Writer(filled) as writer:
        yield writer


class Occupied:
    """Another connection that has the lock for writing."""

    def __init__(self, path: Path) -> None:
        self._other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._other.execute("BEGIN IMMEDIATE")
        self.free = False

    def leave(self) -> None:
        self.free = True
        self._other.execute("COMMIT")

    def close(self) -> None:
        self._other.close()


@pytest.mark.parametrize("name", WRITES)
def test_a_write_waits_while_another_process_writes(name: str, store: Writer, filled: Path) -> None:
    other = Occupied(filled)
    waiting = threading.Timer(0.2, other.leave)
    waiting.start()
    try:
        WRITES[name](store)
        assert other.free
    finally:
        waiting.join()
        other.close()


@pytest.mark.parametrize("name", WRITES)
def test_who_waits_too_long_says_so_and_has_written_nothing(
    name: str, store: Writer, filled: Path
) -> None:
    store.db.execute("PRAGMA busy_timeout = 1")
    before = dump(filled)
    other = Occupied(filled)
    try:
        with pytest.raises(StoreError, match="Another process has been writing"):
            WRITES[name](store)
    finally:
        other.leave()
        other.close()
    assert dump(filled) == before
    WRITES[name](store)


def dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_no_room_for_the_database_is_said_and_leaves_it_whole(store: Writer, filled: Path) -> None:
    pages = store.db.execute("PRAGMA page_count").fetchone()[0]
    store.db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="no room left"):
        store.put_stage("k", "variant", {"text": "x" * 1_000_000}, 0.1)
    assert len(store.results()) == 6
    assert store.db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


OPENING = """
import sys
from pathlib import Path
from engine.errors import CrumpleError
from engine.store import Store, Writer
print("ready", flush=True)
sys.stdin.readline()
try:
    (Writer if sys.argv[2] == "write" else Store)(Path(sys.argv[1])).close()
    print("opened")
except CrumpleError as error:
    print(error.message)
"""


def test_of_those_that_make_a_database_at_once_all_open_it(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    kinds = ("write", "read", "write", "read", "read")
    command = [sys.executable, "-c", OPENING, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, kind], **pipes) for kind in kinds]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=HANG)[0].strip() for process in processes]
    refused = f"Another Crumple is computing into {path}."
    assert set(answers) <= {"opened", refused}
    assert [a for kind, a in zip(kinds, answers, strict=True) if kind == "read"] == ["opened"] * 3
    assert "opened" in {a for kind, a in zip(kinds, answers, strict=True) if kind == "write"}
    Store(path).close()


def test_who_makes_the_tables_is_waited_for_longer_than_who_writes(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    maker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    maker.execute("PRAGMA journal_mode = WAL")
    maker.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, lambda: (maker.commit(), maker.close()))
    release.start()
    try:
        Store(path, patience=0.01).close()
    finally:
        release.join()


def test_a_link_to_a_database_is_that_database(store: Writer, filled: Path) -> None:
    alias = filled.with_name("alias.db")
    alias.symlink_to(filled)
    with pytest.raises(StoreError, match="Another Crumple"):
        Writer(alias)
    with Store(alias) as other:
        assert other.artifacts == store.artifacts
        assert len(other.images(1)["index"]) == 3


def deleted(path: Path) -> None:
    path.unlink()


def moved(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def replaced(path: Path) -> None:
    path.rename(path.with_name("moved.db"))
    fill(path.with_name("other.db"))
    os.replace(path.with_name("other.db"), path)


@pytest.mark.parametrize("how", [deleted, moved, replaced])
def test_a_database_that_goes_away_is_missed_at_the_next_write(
    how: Callable[[Path], None], store: Writer, filled: Path
) -> None:
    how(filled)
    with pytest.raises(StoreError, match=r"lab\.db was deleted, moved or replaced"):
        store.put_stage("k", "variant", {}, 0.1)
    if how is replaced:
        assert "INTO stages" not in "".join(dump(filled))


def test_a_database_of_a_newer_version_is_refused_before_anything_is_read(filled: Path) -> None:
    db = Database(filled)
    db["_sqlite_migrations"].insert(
        {"migration_set": "crumple", "name": "0099_more", "applied_at": "2030-01-01"}
    )
    db.close()
    for readonly in (True, False):
        with pytest.raises(StoreError, match=r"made by a newer Crumple \(0099_more\)"):
            Store(filled, readonly=readonly)


@pytest.mark.parametrize("name", ["", ":memory:", "file:lab.db?mode=memory"])
def test_names_that_are_no_file_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for make in (Store, Writer):
        with pytest.raises(StoreError, match="no name of a file"):
            make(Path(name))
    assert not list(tmp_path.iterdir())


def test_a_pipe_and_a_name_too_long_are_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.db"
    os.mkfifo(pipe)
    for make in (Store, Writer):
        with pytest.raises(StoreError, match="no regular file"):
            make(pipe)
        with pytest.raises(StoreError, match="cannot be opened") as told:
            make(tmp_path / ("x" * 5000))
        assert len(told.value.message) < 500


def test_a_damaged_text_is_said(store: Writer) -> None:
    store.db.execute("UPDATE runs SET message = CAST(x'ff' AS TEXT) WHERE id = 1")
    with pytest.raises(StoreError, match="is damaged"):
        store.run(1)


def test_an_error_inside_a_transaction_leaves_nothing_of_it(store: Writer, filled: Path) -> None:
    before = dump(filled)

    def half() -> None:
        with store.db.atomic():
            store.db.execute("UPDATE runs SET message = 'half'")
            with store.db.atomic():
                store.db.execute("DELETE FROM samples")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert dump(filled) == before
    store.put_stage("k", "variant", {}, 0.1)


Forbidden = Callable[[], AbstractContextManager[list[sqlite3.Connection]]]


@pytest.fixture(params=[errno.EPERM, errno.EROFS])
def forbidden(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Forbidden:
    """While it lasts nobody may write: a disk made read-only, an immutable file.

    SQLite would end the process by SIGBUS. It gives the connections that are left to the end.
    """
    real = os.open
    # Connections that are left to the end count on, and a number of a file can come again.
    monkeypatch.setattr(file_guard, "_WRITABLE", Counter())

    def refuse(path: Any, *args: Any, **more: Any) -> int:
        if str(path).endswith("-wal"):
            raise OSError(request.param, os.strerror(request.param))
        return real(path, *args, **more)

    @contextmanager
    def lasting() -> Iterator[list[sqlite3.Connection]]:
        held: list[sqlite3.Connection] = []
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            patch.setattr(file_guard, "_hold", held.append)
            yield held

    return lasting


def test_writing_that_came_to_be_forbidden_is_told_before_sqlite_tries(
    filled: Path, forbidden: Forbidden
) -> None:
    writer = Writer(filled)
    first, second, *_ = writer.ids("finished")
    writer.tag({first: "before"})
    with forbidden() as held:
        with pytest.raises(StoreError, match="cannot be written any more") as told:
            writer.tag({second: "after"})
        assert "--resume" in told.value.hint
        writer.close()  # which would write, too: the connection is left to the end
    (connection,) = held
    assert connection.execute("SELECT 1").fetchone() == (1,)
    connection.close()
    with Store(filled, readonly=True) as again:
        tags = {row["run_id"]: row["tags"] for row in again.results()}
    assert (tags[first], bool(tags[second])) == ("before", False)


@pytest.mark.parametrize("readonly", [False, True])
def test_a_reader_leaves_marks_too_and_is_told(
    filled: Path,
    forbidden: Forbidden,
    readonly: bool,
) -> None:
    reader = Store(filled, readonly=readonly)
    runs = len(reader.results())
    with forbidden() as held:
        for ask in (reader.results, reader.data_version, lambda: [*read_changes(reader.db, None)]):
            with pytest.raises(StoreError, match="cannot be read any more"):
                ask()
    assert len(reader.results()) == runs, "when it may be written again, it goes on"
    with forbidden() as held:
        reader.close()
    (connection,) = held
    connection.close()


def test_a_connection_that_is_opened_later_is_told_as_well(
    filled: Path, forbidden: Forbidden
) -> None:
    reader, refused = Store(filled), pytest.raises(StoreError, match="cannot be read any more")
    with forbidden() as held, refused:
        Store(filled, readonly=True)
    assert held == []
    reader.close()


def test_what_could_never_be_written_is_read(filled: Path, forbidden: Forbidden) -> None:
    """SQLite knows then, and leaves no marks; also where this process had it open before."""
    with Store(filled, readonly=True) as reader:
        runs = len(reader.results())
    with forbidden() as held, Store(filled, readonly=True) as reader:
        assert len(reader.results()) == runs
        reader.close()
        reader.close()  # twice is once
    assert held == []
    refused = pytest.raises(StoreError, match="cannot be read any more")
    with Store(filled, readonly=True) as reader, forbidden(), refused:
        reader.results()


def test_a_connection_that_is_left_to_the_end_still_counts(
    filled: Path, forbidden: Forbidden
) -> None:
    reader = Store(filled, readonly=True)
    with forbidden() as held:
        reader.close()
        with pytest.raises(StoreError, match="cannot be read any more"):
            Store(filled, readonly=True)
    for connection in held:
        connection.close()
