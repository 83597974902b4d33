"""What reads beside the window: in order, the newest answer only, errors told, nothing lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QObject
from PySide6.QtWidgets import QApplication
from pytestqt.exceptions import capture_exceptions

from engine.errors import CrumpleError, StoreError
from engine.store import Store
from gui.bridge.results_thread import ResultsThread
from gui.bridge.run_feed import RunFeed
from tests.helpers.fake_results import FakeResults
from tests.helpers.patience import HANG
from tests.helpers.patient_bot import PatientBot


@pytest.fixture
def thread(results: FakeResults, qapp: QApplication) -> Iterator[ResultsThread]:
    thread = ResultsThread(results.path)
    yield thread
    thread.close()


def _hold(thread: ResultsThread, asker: QObject) -> threading.Event:
    """Keep the thread busy until the event is set."""
    go = threading.Event()
    thread.ask(asker, "hold", lambda _: go.wait(HANG), lambda _: None)
    return go


def test_jobs_run_beside_the_window_and_answer_on_its_thread(
    thread: ResultsThread, qtbot: PatientBot
) -> None:
    seen: list[tuple[int, str, str]] = []
    thread.ask(
        thread,
        "names",
        lambda store: (len(store.results()), threading.current_thread().name),
        lambda found: seen.append((*found, threading.current_thread().name)),
    )
    assert seen == []
    qtbot.waitUntil(lambda: len(seen) == 1)
    ((count, worker, window),) = seen
    assert count == 20
    assert worker != window == threading.main_thread().name


def test_the_newest_question_on_a_topic_wins(thread: ResultsThread, qtbot: PatientBot) -> None:
    done: list[int] = []
    answers: list[int] = []
    other: list[str] = []

    def job(number: int) -> int:
        done.append(number)
        return number

    go = _hold(thread, thread)
    for number in range(5):
        thread.ask(thread, "a run", lambda _, n=number: job(n), answers.append)
    thread.ask(thread, "another", lambda _: "x", other.append)
    go.set()
    qtbot.waitUntil(lambda: other == ["x"])
    assert (done, answers) == ([4], [4])


def test_an_answer_that_was_overtaken_is_not_given(
    thread: ResultsThread, qtbot: PatientBot
) -> None:
    """The job is done already, its answer on the way, when the next question comes."""
    answers: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def slow(_: Store) -> str:
        begun.set()
        go.wait(HANG)
        return "old"

    thread.ask(thread, "a run", slow, answers.append)
    assert begun.wait(HANG)
    thread.ask(thread, "a run", lambda _: "new", answers.append)
    go.set()
    qtbot.waitUntil(lambda: "new" in answers)
    assert answers == ["new"]


def test_who_is_gone_is_not_answered(thread: ResultsThread, qtbot: PatientBot) -> None:
    answers: list[object] = []
    asker = QObject()
    go = _hold(thread, thread)
    thread.ask(asker, "a run", lambda _: 1, answers.append)
    thread.stream(asker, lambda _: [2], answers.append, lambda: answers.append(3))
    import shiboken6

    shiboken6.delete(asker)
    go.set()
    thread.ask(thread, "last", lambda _: "last", answers.append)
    qtbot.waitUntil(lambda: len(answers) > 0)
    assert answers == ["last"]


def test_errors_reach_the_asker_or_the_window(thread: ResultsThread, qtbot: PatientBot) -> None:
    told: list[CrumpleError] = []
    thread.ask(thread, "study", lambda store: store.study(99), lambda _: None, told.append)
    qtbot.waitUntil(lambda: len(told) == 1)
    with qtbot.waitSignal(thread.refused) as signal:
        thread.ask(thread, "study", lambda store: store.run(99), lambda _: None)
    assert signal.args is not None
    assert isinstance(signal.args[0], StoreError)
    done: list[str] = []
    with qtbot.waitSignal(thread.refused):
        thread.write(thread, lambda store: store.run(99), lambda: done.append("refused"))
    thread.write(thread, lambda store: store.annotate(1, note="x"), lambda: done.append("written"))
    qtbot.waitUntil(lambda: len(done) > 0)
    assert done == ["written"]


def test_a_fault_of_the_program_is_told_by_the_window(
    thread: ResultsThread, qtbot: PatientBot
) -> None:
    done: list[int] = []
    with capture_exceptions() as exceptions:
        thread.ask(thread, "fault", lambda _: 1 / 0, lambda _: None)
        thread.ask(thread, "next", lambda _: 1, done.append)
        qtbot.waitUntil(lambda: done == [1])
    assert [kind for kind, *_ in exceptions] == [ZeroDivisionError]


def test_what_writes_is_finished_before_the_end(results: FakeResults, qapp: QApplication) -> None:
    thread = ResultsThread(results.path)
    go = _hold(thread, thread)
    read: list[int] = []
    for number in range(5):
        thread.ask(thread, str(number), lambda _, n=number: read.append(n), lambda _: None)
        thread.write(
            thread,
            lambda store, n=number: store.annotate(n + 1, note=f"kept {n}"),
            lambda: None,
        )
    go.set()
    thread.close()
    thread.close()
    with Store(results.path) as store:
        notes = [store.run(number + 1)["note"] for number in range(5)]
    assert notes == [f"kept {number}" for number in range(5)]


def test_the_feed_brings_all_runs_and_then_what_changed(
    thread: ResultsThread, results: FakeResults, qtbot: PatientBot
) -> None:
    feed = RunFeed(thread)
    assert not feed.complete
    changed: list[int] = []
    feed.changed.connect(lambda: changed.append(len(feed.table)))
    feed.refresh()
    qtbot.waitUntil(lambda: feed.complete)
    assert changed == [0, 20, 20]  # each has its place, they are read, and so are their seals
    with Store(results.path) as store:
        store.annotate(7, note="new")
    version = feed.version
    feed.refresh()
    feed.refresh()  # while it reads; asked once more when it is done
    qtbot.waitUntil(lambda: feed.version > version)
    row = feed.table.run(7)
    assert row is not None
    assert row["note"] == "new"


def test_a_change_that_comes_while_the_feed_reads_is_not_missed(
    thread: ResultsThread, results: FakeResults, qtbot: PatientBot
) -> None:
    feed = RunFeed(thread)
    go = _hold(thread, thread)
    feed.refresh()
    go.set()
    qtbot.waitUntil(lambda: feed.complete)
    go = _hold(thread, thread)
    feed.refresh()
    with Store(results.path) as store:
        store.annotate(7, note="while it waits")
    feed.refresh()
    go.set()

    def arrived() -> bool:
        row = feed.table.run(7)
        return row is not None and row["note"] == "while it waits"

    qtbot.waitUntil(arrived)


def test_a_database_that_cannot_be_read_is_told_and_tried_again(
    tmp_path: Path, qtbot: PatientBot
) -> None:
    (tmp_path / "r.db").write_bytes(b"no database at all, but a text")
    thread = ResultsThread(tmp_path / "r.db")
    feed = RunFeed(thread)
    for _ in range(2):
        with qtbot.waitSignal(thread.refused):
            feed.refresh()
    thread.close()
