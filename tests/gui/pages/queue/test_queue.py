"""Queue: states, reasons and what can be done about them; the table never jumps."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QItemSelectionModel, QSortFilterProxyModel, Qt
from PySide6.QtTest import QAbstractItemModelTester
from pytestqt.qtbot import QtBot

from engine import events
from engine.host import paths
from engine.store import Writer
from gui.base.page_context import PageContext
from gui.pages.queue.page import QueuePage
from gui.pages.queue.queue_model import NAME, PROGRESS, REASON, SHARE_ROLE, STATE, TIME, QueueModel
from tests.helpers.fake_results import FakeResults
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.page_kit import Tell


@pytest.fixture
def page(qtbot: QtBot, full_context: PageContext) -> QueuePage:
    page = QueuePage(full_context)
    qtbot.addWidget(page)
    page.resize(1000, 400)
    page.show()
    return page


def place(page: QueuePage, run_id: int) -> int:
    return next(i for i in range(page.model.rowCount()) if page.model.row(i)["run_id"] == run_id)


def select(page: QueuePage, *run_ids: int) -> None:
    page.table.clearSelection()
    flags = QItemSelectionModel.SelectionFlag
    for run_id in run_ids:
        index = page.model.index(place(page, run_id), NAME)
        page.table.selectionModel().select(index, flags.Select | flags.Rows)


def text(page: QueuePage, run_id: int, column: int) -> str:
    return str(page.model.index(place(page, run_id), column).data())


def progress(run_id: int, done: int) -> events.RunProgress:
    return events.RunProgress(
        run_id=run_id,
        done=done,
        total=60,
        broken=1,
        seen=done,
        curve=(1.0,),
        seconds_left=72.0,
        share=done / 60,
    )


def test_every_run_is_there_and_a_failure_says_why(page: QueuePage, results: FakeResults) -> None:
    rows = page.context.store.queue()
    assert page.model.rowCount() == len(rows)
    failed = page.context.store.run(results.failed)
    assert text(page, results.failed, STATE) == "failed"
    assert failed["message"] in text(page, results.failed, REASON)
    assert failed["hint"] in text(page, results.failed, REASON)
    assert "1 waiting" in page.summary.text()
    assert place(page, results.waiting) == 0


def test_the_reason_of_a_failure_stands_without_the_name_of_the_run(
    page: QueuePage, results: FakeResults
) -> None:
    """As it is stored: words in it that look like the name of a stage stay."""
    run = page.context.store.run(results.failed)
    said = {"reason": "a, b: c: it is odd.", "stage": "attack pgd"}
    whole = f"{run['model']} · {run['compression']}, {said['stage']}: {said['reason']}"
    with Writer(results.path, exclusive=False) as writer:
        writer.end_run(results.failed, "failed", message=whole, hint="Look.", **said)
    page.refresh()
    assert text(page, results.failed, REASON) == "a, b: c: it is odd. (attack pgd) Look."


def test_buttons_follow_the_selection(
    page: QueuePage, results: FakeResults, engine: FakeEngineClient
) -> None:
    select(page, results.failed, results.waiting)
    page.retry_button.click()
    page.cancel_button.click()
    page.front_button.click()
    page.end_button.click()
    assert engine.calls == [
        ("retry", [results.failed]),
        ("cancel", [results.waiting]),
        ("move", (results.waiting, True)),
        ("move", (results.waiting, False)),
    ]
    finished = next(r["run_id"] for r in page.context.store.queue() if r["status"] == "finished")
    select(page, finished)
    assert not page.retry_button.isEnabled()
    assert not page.cancel_button.isEnabled()
    assert not page.front_button.isEnabled()


def test_delete_cancels(
    page: QueuePage, results: FakeResults, engine: FakeEngineClient, qtbot: QtBot
) -> None:
    page.activateWindow()
    page.table.setFocus()
    select(page, results.waiting)
    qtbot.keyClick(page.table, Qt.Key.Key_Delete)
    assert engine.calls == [("cancel", [results.waiting])]


def test_progress_is_drawn_without_reading_everything_again(
    page: QueuePage, results: FakeResults, tell: Tell, qtbot: QtBot
) -> None:
    run_id = results.waiting
    with Writer(results.path, exclusive=False) as writer:
        writer.start_run(run_id, 60)
    page.refresh()
    with qtbot.waitSignal(page.model.dataChanged) as changed:
        tell(page.context, progress(run_id, 15))
    assert changed.args[0].row() == changed.args[1].row() == place(page, run_id)
    assert text(page, run_id, PROGRESS) == "15 / 60"
    assert page.model.index(place(page, run_id), PROGRESS).data(SHARE_ROLE) == 0.25
    assert text(page, run_id, TIME) == "1:12 left"


def test_a_check_after_the_attack_shows_how_far_it_is(
    page: QueuePage, results: FakeResults, tell: Tell
) -> None:
    run_id = results.waiting
    with Writer(results.path, exclusive=False) as writer:
        writer.start_run(run_id, 60)
    page.refresh()
    check = events.CheckProgress(run_id=run_id, detail="square", share=0.25, seconds_left=65)
    tell(page.context, progress(run_id, 60), check)
    assert text(page, run_id, PROGRESS) == "check 25%"
    assert page.model.index(place(page, run_id), PROGRESS).data(SHARE_ROLE) == 0.25
    assert text(page, run_id, TIME) == "1:05 left"
    tell(page.context, events.StageStarted(run_id=run_id, stage="statistics"))
    assert text(page, run_id, PROGRESS) != "check 25%"


def test_a_check_before_the_attack_shows_its_own_time(
    page: QueuePage, results: FakeResults, tell: Tell
) -> None:
    run_id = results.waiting
    with Writer(results.path, exclusive=False) as writer:
        writer.start_run(run_id, 60)
    page.refresh()
    gate = events.CheckProgress(
        run_id=run_id, detail="gradients", share=0.25, seconds_left=65, before=True
    )
    tell(page.context, gate)
    assert text(page, run_id, PROGRESS) == "check 25%"
    assert text(page, run_id, TIME) == "check: 1:05 left"


def test_selection_and_scroll_stay_when_rows_change(
    page: QueuePage, results: FakeResults, qtbot: QtBot
) -> None:
    last = page.model.row(page.model.rowCount() - 1)["run_id"]
    select(page, last, results.failed)
    page.table.scrollToBottom()
    before = page.table.verticalScrollBar().value()
    page.context.store.set_deleted([results.waiting])
    with Writer(results.path, exclusive=False) as writer:
        writer.set_status([last], "waiting", ("finished",))
    page.refresh()
    assert page.selected_runs() == [last, results.failed]
    assert place(page, last) == 0
    assert abs(page.table.verticalScrollBar().value() - before) <= 1


def test_nothing_is_announced_when_nothing_changed(page: QueuePage) -> None:
    announced: list[object] = []
    model = page.model
    for signal in (model.dataChanged, model.layoutChanged, model.modelReset, model.rowsInserted):
        signal.connect(lambda *args: announced.append(args))
    page.refresh()
    assert announced == []


def test_model_keeps_the_rules_of_qt(page: QueuePage, results: FakeResults) -> None:
    table = page.context.runs.table
    model = QueueModel(table)
    proxy = QSortFilterProxyModel()
    proxy.setSourceModel(model)
    tester = QAbstractItemModelTester(
        model, QAbstractItemModelTester.FailureReportingMode.Fatal, model
    )
    places = np.arange(len(table.ids))
    for shown in (places, places[5:], places[::-1], places[3:9], places[:0], places):
        model.show(shown)
        assert [model.row(i)["run_id"] for i in range(model.rowCount())] == [
            table.ids[place] for place in shown
        ]
    assert tester.model() is model


def test_runs_stand_in_the_order_in_which_they_run(page: QueuePage, results: FakeResults) -> None:
    """By state, then by their position, whatever was moved, stopped and queued again."""
    order = ("running", "waiting", "failed", "cancelled", "finished")
    with Writer(results.path, exclusive=False) as writer:
        writer.set_status([3, 9, 4], "waiting", ("finished",))
        writer.set_status([5, 12], "cancelled", ("finished",))
        writer.start_run(9, 60)
        writer.move([4, results.waiting], to_front=True)
        stored = writer.queue()
    page.refresh()
    shown = [page.model.row(i)["run_id"] for i in range(page.model.rowCount())]
    stored.sort(key=lambda row: order.index(row["status"]))
    assert shown == [row["run_id"] for row in stored]
    assert shown[:3] == [9, 4, results.waiting]


def test_the_reason_is_seen_when_all_failed_alike(page: QueuePage) -> None:
    page.context.store.db.execute("UPDATE runs SET status = 'failed', message = 'The same.'")
    page.refresh()
    assert not page.table.isColumnHidden(REASON)
    page.context.store.db.execute("UPDATE runs SET status = 'finished', message = NULL")
    page.refresh()
    assert page.table.isColumnHidden(REASON)


def test_finished_runs_can_be_hidden_for_good(page: QueuePage, qtbot: QtBot) -> None:
    page.hide_finished.click()
    assert page.model.rowCount() == 2
    page.save_state()
    again = QueuePage(page.context)
    qtbot.addWidget(again)
    assert again.model.rowCount() == 2


def test_pause_and_resume(page: QueuePage, engine: FakeEngineClient, tell: Tell) -> None:
    assert page.pause_button.text() == "Resume"
    page.pause_button.click()
    tell(page.context, events.QueueChanged(paused=False))
    page.refresh()
    assert page.pause_button.text() == "Pause"
    page.pause_button.click()
    assert engine.calls == [("pause", False), ("pause", True)]


def test_double_click_opens_the_result(page: QueuePage, qtbot: QtBot) -> None:
    finished = next(r["run_id"] for r in page.context.store.queue() if r["status"] == "finished")
    with qtbot.waitSignal(page.go) as gone:
        page.table.doubleClicked.emit(page.model.index(place(page, finished), NAME))
    assert gone.args == ["inspector", finished]


def test_an_empty_queue_offers_the_example(qtbot: QtBot, context: PageContext) -> None:
    page = QueuePage(context)
    qtbot.addWidget(page)
    page.show()
    assert page.empty.isVisible()
    with qtbot.waitSignal(page.go) as gone:
        page.empty.buttons[1].click()
    assert gone.args == ["new", paths.example_study()]


def test_a_queue_that_did_not_change_is_not_arranged_again(
    page: QueuePage, results: FakeResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    arranged: list[None] = []
    monkeypatch.setattr(page.model, "arrange", lambda *_, **__: arranged.append(None))
    page.refresh()
    assert not arranged
    page.context.store.set_deleted([results.waiting])
    page.refresh()
    page.refresh()
    assert len(arranged) == 1


def test_the_column_of_reasons_is_there_when_something_failed(
    page: QueuePage, results: FakeResults
) -> None:
    assert not page.table.isColumnHidden(REASON)
    page.context.store.set_deleted([results.failed])
    page.refresh()
    assert page.table.isColumnHidden(REASON)


def test_a_finished_run_says_what_it_took(page: QueuePage, results: FakeResults) -> None:
    row = next(row for row in page.context.store.queue() if row["status"] == "finished")
    assert text(page, row["run_id"], TIME) == f"{row['seconds']:.1f} s"
    assert text(page, results.waiting, TIME) == ""
