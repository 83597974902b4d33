"""The window: it routes, remembers, undoes and tells of trouble where it belongs."""

from __future__ import annotations

import sys
import threading

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from engine import events
from engine.errors import StoreError
from gui.base import error_hooks
from gui.base.model_names import model_title
from gui.base.page_context import PageContext
from gui.base.undo_commands import DeleteRuns
from gui.shell.main_window import MainWindow
from gui.widgets.message_bar import Message
from tests.helpers.fake_results import FakeResults
from tests.helpers.page_kit import Tell


@pytest.fixture
def window(qtbot: QtBot, full_context: PageContext) -> MainWindow:
    window = MainWindow(full_context, "new")
    qtbot.addWidget(window)
    with qtbot.waitExposed(window):
        window.show()
    return window


def test_the_picker_of_models_opens_by_its_action_and_closes_with_the_window(
    window: MainWindow,
) -> None:
    window.show_page("runs")
    window.menus.actions["add-model"].trigger()
    picker = window._new_page().data.model_list.ready.picker
    assert picker is not None
    assert (window.page_id, picker.isVisible()) == ("new", True)
    window.close()
    assert not picker.isVisible()


def test_pages_are_built_when_first_shown(qtbot: QtBot, context: PageContext) -> None:
    window = MainWindow(context, "new")
    qtbot.addWidget(window)
    assert window.stack.count() == 1
    window.show_page("queue")
    window.show_page("new")
    window.show_page("queue")
    assert window.stack.count() == 2


def test_place_and_page_are_remembered(
    qtbot: QtBot, window: MainWindow, full_context: PageContext
) -> None:
    window.show_page("queue")
    window.details.setVisible(window.details.isHidden())
    window.resize(1300, 750)
    window.close()
    again = MainWindow(full_context)
    qtbot.addWidget(again)
    assert again.page_id == "queue"
    assert not again.details.isHidden()
    # The offscreen screen is 800 pixels wide, to which Qt fits what it restores.
    assert again.height() == 750


@pytest.mark.parametrize("value", ["", "nowhere"])
def test_an_unknown_page_in_the_settings_is_no_trouble(
    qtbot: QtBot, context: PageContext, value: str
) -> None:
    context.settings.setValue("window/page", value)
    context.settings.setValue("window/geometry", "rubbish")
    window = MainWindow(context)
    qtbot.addWidget(window)
    assert window.page_id == "new"


def test_a_refused_study_is_explained_in_new(
    window: MainWindow, full_context: PageContext, tell: Tell
) -> None:
    window.show_page("queue")
    refused = events.StudyRefused(name="Mine", message="The folder /x is empty.", hint="Choose.")
    tell(full_context, refused)
    assert window.page_id == "new"
    bar = window.frame("new").bar
    assert bar.isVisible()
    assert "Mine: The folder /x is empty. Choose." in bar.accessibleName()
    assert window.frame("queue").bar.isHidden()


def test_a_failed_run_is_told_with_its_traceback(
    window: MainWindow, full_context: PageContext, tell: Tell
) -> None:
    tell(
        full_context,
        events.RunFailed(run_id=3, message="Out of memory.", hint="Halve.", traceback="Trace..."),
    )
    toast = window.toast
    assert toast.isVisible()
    toast._more.click()
    assert toast._details.toPlainText() == "Trace..."
    assert window.centralWidget().rect().contains(toast.geometry())
    toast._action.click()
    assert window.page_id == "queue"
    assert not toast.isVisible()


def test_a_study_that_is_stored_already_says_so(
    window: MainWindow, full_context: PageContext, tell: Tell
) -> None:
    tell(full_context, events.StudyQueued(study_id=1, name="x", run_ids=(1, 2), reused=2))
    assert window.toast.message is not None
    assert "stored already" in window.toast.message.text
    window.toast.clear()


def test_deleting_runs_is_undone_by_key(
    qtbot: QtBot, window: MainWindow, full_context: PageContext, results: FakeResults
) -> None:
    with qtbot.waitActive(window):
        window.activateWindow()
    window.show_page("queue")
    before = len(full_context.store.results())
    run_ids = [results.failed, results.flagged]
    window.change(DeleteRuns(full_context.results, run_ids, lambda _: None))
    assert len(full_context.store.results()) == before - 2
    control = Qt.KeyboardModifier.ControlModifier
    qtbot.keyClick(window, Qt.Key.Key_Z, control)
    assert len(full_context.store.results()) == before
    qtbot.keyClick(window, Qt.Key.Key_Z, control | Qt.KeyboardModifier.ShiftModifier)
    assert len(full_context.store.results()) == before - 2


def test_details_tell_all_and_keep_notes(
    qtbot: QtBot, window: MainWindow, full_context: PageContext
) -> None:
    row = next(row for row in full_context.store.results() if row["status"] == "finished")
    run_id, details = row["run_id"], window.details
    window.details.setVisible(window.details.isHidden())
    details.show_runs([run_id])
    said = " ".join(label.text() for label in details.findChildren(QLabel))
    assert row["model"] in details.title.toolTip()
    for part in (
        model_title(row["model"]),
        row["compression"],
        f"{row['robust_accuracy'] * 100:.1f} %",
    ):
        assert part in said
    assert f"{row['ci_low'] * 100:.1f} %" in said
    details.tags.setText("paper, t2")
    details.tags.editingFinished.emit()
    details.note.setPlainText("look again")
    details.note.left.emit()
    stored = full_context.store.run(run_id)
    assert (stored["tags"], stored["note"]) == ("paper, t2", "look again")
    window.undo_stack.undo()
    window.undo_stack.undo()
    stored = full_context.store.run(run_id)
    assert (stored["tags"], stored["note"]) == ("", "")
    assert details.tags.text() == ""
    details.show_runs([run_id, run_id + 1])
    assert "2 runs" in details.title.text()
    assert details.tags.isHidden()


def test_notes_are_not_overwritten_while_typing(
    qtbot: QtBot, window: MainWindow, full_context: PageContext
) -> None:
    with qtbot.waitActive(window):
        window.activateWindow()
    window.details.setVisible(window.details.isHidden())
    window.details.show_runs([1])
    window.details.note.setFocus()
    qtbot.keyClicks(window.details.note, "half a sen")
    full_context.client.rows_changed.emit()
    assert window.details.note.toPlainText() == "half a sen"


def test_errors_of_any_thread_reach_the_window(
    qtbot: QtBot, window: MainWindow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.undo()  # the hooks are what is tested here
    for place, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(place, name, getattr(place, name))
    error_hooks.install()
    error_hooks.reporter().failed.connect(window.report_bug)

    def fail() -> None:
        raise ZeroDivisionError("in a thread")

    with qtbot.waitSignal(error_hooks.reporter().failed):
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert window.toast.message is not None
    assert "in a thread" in window.toast.message.text
    assert "def fail" not in window.toast.message.text
    assert "raise ZeroDivisionError" in window.toast.message.details
    assert "ZeroDivisionError" in capsys.readouterr().err
    window.toast.clear()


def test_a_refusal_that_a_page_does_not_catch_says_what_to_do(
    qtbot: QtBot, window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the disk of the database was made read-only: pages read of it when they refresh."""
    monkeypatch.undo()  # the hooks are what is tested here
    for place, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(place, name, getattr(place, name))
    error_hooks.install()
    error_hooks.reporter().refused.connect(window.show_error)
    error_hooks.reporter().failed.connect(window.report_bug)
    refusal = StoreError("The database cannot be read any more.", "Start Crumple again.")
    with qtbot.waitSignal(error_hooks.reporter().refused):
        sys.excepthook(StoreError, refusal, None)
    assert window.toast.message is not None
    assert window.toast.message.text == "The database cannot be read any more."
    assert window.toast.message.hint == "Start Crumple again."
    window.toast.clear()
    with qtbot.waitSignal(error_hooks.reporter().refused):  # who tries again is told again
        sys.excepthook(StoreError, refusal, None)
    assert window.toast.message is not None
    window.toast.clear()


def test_what_passes_by_lies_above_what_the_page_says(window: MainWindow) -> None:
    def gap() -> int:
        """Pixels between the two; negative where they overlap."""
        bar = window.frame("new").bar
        return (
            bar.mapTo(window, QPoint()).y()
            - window.toast.mapTo(window, window.toast.rect().bottomLeft()).y()
        )

    alone = Message("Study finished: 9 runs.")
    window.toast.show_message(alone)
    place = window.toast.geometry()
    window.page().notify.emit(Message("Written to chart.svg."))
    assert gap() > 0, "the page speaks later"
    window.resize(window.width() + 40, window.height() + 30)
    QApplication.processEvents()
    assert gap() > 0
    window.page().notify.emit(Message("Written to a place with a long name. " * 20))
    QApplication.processEvents()
    assert gap() > 0, "or longer"
    window.resize(window.width() - 40, window.height() - 30)
    window.page().notify.emit(None)
    QApplication.processEvents()
    assert window.toast.geometry() == place, "and it comes down again"
    window.page().notify.emit(Message("Written to chart.svg."))
    window.toast.clear()
    window.toast.show_message(alone)
    assert gap() > 0, "the page spoke first"
    window.toast.clear()


def test_a_page_that_is_not_seen_leaves_the_details_alone(
    window: MainWindow, full_context: PageContext, results: FakeResults, tell: Tell
) -> None:
    """Live follows every new run, also while another page is shown."""
    window.details.show()
    window.show_page("live")
    window.show_page("queue")
    before = window.details.title.text()
    tell(
        full_context, events.RunStarted(run_id=results.waiting, model="m", method="a run", total=60)
    )
    assert window.details.title.text() == before


def test_details_without_a_run_have_nothing_to_scroll(
    window: MainWindow, results: FakeResults
) -> None:
    details = window.details
    details.show()
    details.show_runs([results.flagged])
    details.grab()
    bar = details._body.verticalScrollBar()
    assert bar.maximum() > 0
    details.show_runs([])
    details.grab()
    assert bar.maximum() == 0


def test_details_are_built_again_only_when_their_run_changed(
    window: MainWindow, full_context: PageContext, results: FakeResults
) -> None:
    details = window.details
    details.show()
    details.show_runs([results.flagged])
    inside = details._body.widget()
    full_context.store.set_deleted([results.failed])
    full_context.client.rows_changed.emit()
    assert details._body.widget() is inside
    full_context.store.annotate(results.flagged, tags="odd")
    full_context.client.rows_changed.emit()
    assert details.tags.text() == "odd"


def test_a_message_offers_no_way_to_where_one_is(
    window: MainWindow, full_context: PageContext, tell: Tell
) -> None:
    died = events.WorkerDied(reason="The worker was killed.")
    window.show_page("queue")
    tell(full_context, died)
    assert window.toast.message is not None
    assert window.toast.message.button == ""
    window.show_page("runs")
    tell(full_context, died)
    assert window.toast.message.button == "Show Queue"
    window.toast.clear()


@pytest.mark.parametrize("seen", [True, False])
def test_it_is_ready_once_also_where_nobody_sees_it(
    qtbot: QtBot, context: PageContext, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    monkeypatch.setattr("gui.shell.main_window._READY_MS", 10 if not seen else 10**6)
    window = MainWindow(context)
    qtbot.addWidget(window)
    told: list[bool] = []
    window.ready.connect(lambda: told.append(True))
    window.setUpdatesEnabled(seen)
    window.show()
    qtbot.waitUntil(lambda: told == [True])
    window.hide()
    window.setUpdatesEnabled(True)
    window.show()
    window.grab()
    assert not window._latest.isActive()
    assert told == [True]
