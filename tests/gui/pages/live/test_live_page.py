"""The Live page: what events do to it, and what it shows of stored runs."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from engine import events
from engine.errors import StoreError
from engine.statistics.intervals import wilson
from engine.store import SampleRow, Store
from gui.base import file_dialogs, theme
from gui.base.page_context import PageContext, make_context
from gui.base.words import duration
from gui.bridge.engine_client import QtEngineClient
from gui.pages.live.charts import CurveChart
from gui.pages.live.run_reader import READING
from gui.pages.live.state import Earlier, LiveState, _marks, figures, stored_state
from tests.helpers.fake_results import MASKED, FakeResults
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.inline import Held
from tests.helpers.live_events import epoch_finished, progress, start
from tests.helpers.page_kit import PageHarness, Tell
from tests.helpers.patient_bot import PatientBot


def test_progress_is_drawn_by_the_timer_and_not_by_the_event(
    harness: PageHarness, tell: Tell
) -> None:
    page = harness.page("live")
    run_id = start(harness, tell)
    page.timer.stop()
    page.draw()
    before = page.board.curve.line.getData()
    for steps in range(2, 40):
        tell(harness.context, progress(run_id, steps))
    assert page.board.curve.line.getData() is before or np.array_equal(
        page.board.curve.line.getData(), before
    ), "an event must not draw"

    page.draw()
    x, y = page.board.curve.line.getData()
    assert list(x) == list(range(39))
    assert np.allclose(y, [1 - 0.1 * step for step in range(39)])
    assert len(page.board.loss.line.getData()[0]) == 38


def test_the_part_at_work_is_named(harness: PageHarness, tell: Tell) -> None:
    page = harness.page("live")
    tell(harness.context, replace(progress(start(harness, tell), 4), part="apgd-t"))
    page.draw()
    shown = [label.text() for label in page.board.figures.findChildren(QLabel)]
    assert "attacking: apgd-t" in shown


@pytest.mark.parametrize("height", [420, 900])
def test_the_names_of_parts_stand_above_the_legend(
    harness: PageHarness, tell: Tell, height: int
) -> None:
    page = harness.page("live")
    page.resize(1180, height)
    run_id = start(harness, tell)
    begun = tuple((step, f"part {step}") for step in range(4))
    tell(harness.context, replace(progress(run_id, 4), part="part 3", parts=begun))
    page.board.curve.set_earlier(
        "own", [Earlier(name, ((0, 1.0),), name == "none") for name in ("none", "b")]
    )
    page.draw()
    page.grab()
    legend = page.board.curve.legend.sceneBoundingRect()
    names = [line.label.sceneBoundingRect() for line in page.board.curve.marks.lines]
    assert len(names) == 4
    assert not any(legend.intersects(name) for name in names)
    tops = [name.top() for name in names]
    assert tops == sorted(tops)
    assert page.board.curve.plotItem.getViewBox().sceneBoundingRect().top() < tops[0]


def test_the_parts_are_marked_on_the_curve_in_both_themes(harness: PageHarness, tell: Tell) -> None:
    page = harness.page("live")
    run_id = start(harness, tell)
    begun = ((0, "apgd-ce"), (100, "apgd-t"))
    tell(harness.context, replace(progress(run_id, 4), part="apgd-t", parts=begun[:1]))
    page.draw()
    tell(harness.context, replace(progress(run_id, 4), part="apgd-t", parts=begun))
    page.draw()
    for mode in ("dark", "light"):
        theme.current().use(mode)
        marks = page.board.curve.marks.lines
        assert [(line.value(), line.label.toPlainText()) for line in marks] == list(begun)
        heights = [line.label.orthoPos for line in marks]
        assert heights[0] > heights[1], "names of short parts must not cover each other"
    page.open(harness.run("digits-resnet", "none", "pgd"))
    page.draw()
    assert not page.board.curve.marks.lines, "a run of one attack has no parts"


def test_a_small_loss_keeps_its_size_when_the_theme_changes(harness: PageHarness) -> None:
    page = harness.page("live")
    page.board.loss.show_state(LiveState(1, loss=((0, 0.001), (9, 0.02)), steps=10))
    page.grab()
    theme.current().use("dark")
    page.grab()
    axis = page.board.loss.plotItem.getAxis("left")
    assert axis.tickStrings([0.02], axis.autoSIPrefixScale * axis.scale, 0.01) == ["0.02"]


def test_stored_parts_begin_where_the_ones_before_end() -> None:
    rows = [
        {"step": step, "part": part, "robust_accuracy": 1.0, "loss": None}
        for step, part in ((0, ""), (1, "a"), (7, "a"), (9, ""), (11, "b"), (13, "b"))
    ]
    assert _marks(rows) == ((0, "a"), (9, "b"))


def test_a_thinned_curve_is_drawn_at_its_steps(harness: PageHarness, tell: Tell) -> None:
    page = harness.page("live")
    run_id = start(harness, tell)
    tell(harness.context, replace(progress(run_id, 4), stride=50, loss=((1, 0.5), (150, 2.0))))
    page.draw()
    assert list(page.board.curve.line.getData()[0]) == [0, 50, 100, 150]
    assert [list(axis) for axis in page.board.loss.line.getData()] == [[1, 150], [0.5, 2.0]]


def test_the_timer_runs_only_while_the_page_is_seen(harness: PageHarness) -> None:
    page = harness.page("live")
    assert page.timer.isActive()
    assert page.timer.interval() >= 1000 / 15
    page.hide()
    assert not page.timer.isActive()


def test_the_curve_moves_by_itself(harness: PageHarness, tell: Tell) -> None:
    page = harness.page("live")
    run_id = start(harness, tell)
    tell(harness.context, progress(run_id, 7))

    def drawn() -> bool:
        x, _ = page.board.curve.line.getData()
        return x is not None and len(x) == 7

    harness.qtbot.waitUntil(drawn)


def test_the_band_is_the_wilson_interval(harness: PageHarness, tell: Tell) -> None:
    page = harness.page("live")
    run_id = start(harness, tell)
    tell(harness.context, progress(run_id, done=20, broken=5))
    page.draw()

    low, high = wilson([7, 15], [8, 20])
    assert np.allclose(page.board.history.band._low.getData()[1], low)
    assert np.allclose(page.board.history.band._high.getData()[1], high)
    assert np.allclose(page.board.history.line.getData(), [[8, 20], [7 / 8, 15 / 20]])
    texts = {key: label.text() for key, label in page.board.figures.values.items()}
    assert texts["robust"] == f"75.0 % [{100 * low[1]:.1f}, {100 * high[1]:.1f}]"
    assert texts["images"] == "20 of 60 done, 9 of 12 hold"
    assert texts["left"] == "1:05"
    assert texts["clean"] == "100.0 %"
    assert texts["phase"] == "attacking"


def test_pausing_holds_the_charts_and_going_on_catches_up(harness: PageHarness, tell: Tell) -> None:
    page = harness.page("live")
    run_id = start(harness, tell)
    tell(harness.context, progress(run_id, 5))
    page.draw()
    page.pause.click()
    tell(harness.context, progress(run_id, 9))
    page.draw()
    assert len(page.board.curve.line.getData()[0]) == 5

    page.pause.click()
    page.draw()
    assert len(page.board.curve.line.getData()[0]) == 9


@pytest.mark.parametrize("follow", [True, False])
def test_a_new_run_is_followed_if_asked(harness: PageHarness, tell: Tell, follow: bool) -> None:
    page = harness.page("live")
    chosen = harness.run("digits-resnet", "none", "pgd")
    page.open(chosen)
    page.follow.setChecked(follow)
    run_id = start(harness, tell)

    assert page.run_id == (run_id if follow else chosen)
    assert page.runs.currentData() == page.run_id


def test_a_page_that_was_hidden_knows_where_the_run_stands(
    harness: PageHarness, tell: Tell
) -> None:
    page = harness.page("live")
    page.hide()
    run_id = start(harness, tell)
    tell(harness.context, progress(run_id, 6))
    page.show()
    page.draw()

    assert page.run_id == run_id
    assert len(page.board.curve.line.getData()[0]) == 6


def test_a_stage_is_named_in_words(harness: PageHarness, tell: Tell) -> None:
    page = harness.page("live")
    run_id = start(harness, tell)
    tell(harness.context, events.StageStarted(run_id=run_id, stage="compression", detail="ptq w2"))
    page.draw()

    assert page.board.figures.values["phase"].text() == "compressing: ptq w2"


def test_epochs_of_a_step_that_trains_are_told(harness: PageHarness, tell: Tell) -> None:
    page = harness.page("live")
    run_id = start(harness, tell)
    epoch = epoch_finished(run_id, 2, loss=0.1234, clean=0.95, robust=0.5)
    tell(harness.context, epoch)
    page.draw()

    assert page.board.figures.values["phase"].text() == "training: epoch 2 of 5"
    shown = {key: label.text() for key, label in page.board.training_figures.values.items()}
    assert (shown["loss"], shown["clean"], shown["robust"]) == ("0.1234", "95.0 %", "50.0 %")


def test_a_failure_says_why(harness: PageHarness, tell: Tell) -> None:
    page = harness.page("live")
    run_id = start(harness, tell)
    tell(harness.context, events.RunFailed(run_id=run_id, message="Out of memory."))
    page.draw()

    assert "Out of memory." in page.board.figures.values["phase"].text()


def test_a_stored_run_shows_its_curve_flags_and_neighbours(harness: PageHarness) -> None:
    assert harness.results is not None
    page = harness.page("live")
    page.open(harness.results.flagged)
    # The other variants of the same model under the same attack: none, two prunings, ptq w4.
    page.draw()
    assert len(page.board.curve._earlier) == 4

    stored = [
        point["robust_accuracy"] for point in harness.context.store.curve(harness.results.flagged)
    ]
    assert np.allclose(page.board.curve.line.getData()[1], stored)
    assert MASKED["text"][1:] in page.board.figures.values["evidence"].text()
    page.draw()
    names = sorted(curve.name for curve in page.board.curve._earlier)
    assert names == ["magnitude 50%", "magnitude 90%", "none (baseline)", "ptq w4"]
    assert {len(curve.curve) for curve in page.board.curve._earlier} == {21}, "of the same attack"
    recipe = [{"brief": "kd 10ep"}]
    long = {
        **page._row(harness.results.flagged),
        "compression": "kd 10ep lr=0.05",
        "recipe": recipe,
    }
    assert page._names_and_curves(long)[0] == "kd 10ep", "short, as those behind it"


def test_the_curve_is_written_as_data_and_as_picture(
    harness: PageHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = harness.page("live")
    run_id = harness.run("digits-resnet-at", "none", "pgd")
    page.open(run_id)
    page.draw()
    for kind in ("CSV", "SVG", "PNG"):
        target = tmp_path / f"curve.{kind.lower()}"
        monkeypatch.setattr(file_dialogs, "ask_save", lambda *_, target=target: target)
        page._export(kind)

    with (tmp_path / "curve.csv").open() as file:
        shares = [float(row["robust_accuracy"]) for row in csv.DictReader(file)]
    stored = [point["robust_accuracy"] for point in harness.context.store.curve(run_id)]
    assert shares == stored
    assert ElementTree.parse(tmp_path / "curve.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_stored_history_ends_at_the_stored_result(
    full_context: PageContext, results: FakeResults
) -> None:
    for row in full_context.store.results():
        if row["status"] != "finished":
            continue
        state = stored_state(full_context.store, row["run_id"])
        robust = state.robust()
        assert robust is not None
        assert robust == pytest.approx((row["robust_accuracy"], row["ci_low"], row["ci_high"]))
        assert state.history[-1] == (state.done, state.broken)
        assert state.curve[-1][1] == pytest.approx(row["robust_accuracy"])


def test_without_an_image_there_is_no_interval() -> None:
    assert LiveState(1).robust() is None
    assert LiveState(1, history=((0, 0),)).band() == ([], [], [], [])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0, "0:00"), (59.6, "1:00"), (3599.7, "1:00:00"), (3725, "1:02:05")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("speed", "text"),
    [(0.0456, "0.0456"), (1.26, "1.26"), (99.94, "99.9"), (745.4, "745"), (1019.6, "1,020")],
)
def test_a_speed_is_written_as_people_write_it(speed: float, text: str) -> None:
    state = LiveState(1, images_per_second=speed)
    assert figures(state)["speed"] == f"{text} a second"


def test_the_first_batch_already_tells_an_accuracy_and_shows_its_point(
    harness: PageHarness, tell: Tell
) -> None:
    state = LiveState(1, curve=((0, 1.0), (1, 0.75)), seen=100, total=300)
    assert figures(state)["robust"] == "75.0 % so far"
    page = harness.page("live")
    page.board.history.show_state(LiveState(1, history=((100, 5),), done=100, total=300, broken=5))
    assert page.board.history.line.opts["symbol"] == "o"


@pytest.mark.parametrize(("steps", "whole"), [(1, True), (40, False)])
def test_a_short_attack_has_no_fractions_of_a_step(
    qtbot: QtBot, qapp: QApplication, settings: QSettings, steps: int, whole: bool
) -> None:
    theme.install(qapp, settings, "light")
    # Alone: on the page the curves of earlier runs come when they are read, with their own span.
    chart = CurveChart()
    qtbot.addWidget(chart)
    chart.show_state(LiveState(1, steps=steps))
    axis = chart.plotItem.getAxis("bottom")
    ticks = [place for _, places in axis.tickValues(0, steps, 600) for place in places]
    assert ticks
    assert all(place == int(place) for place in ticks) or not whole


def test_the_band_of_one_run_does_not_stay_for_the_next(harness: PageHarness) -> None:
    page = harness.page("live")
    history = ((50, 5), (100, 12), (150, 20))
    page.board.history.show_state(LiveState(1, history=history, done=150, total=300, broken=20))
    assert page.board.history.band._area.isVisible()
    page.board.history.show_state(LiveState(2, total=300))
    assert not page.board.history.band._area.isVisible()


def test_a_check_before_the_attack_is_named_and_promises_no_time_of_the_run() -> None:
    gate = events.CheckProgress(
        run_id=3, detail="gradients", share=0.25, seconds_left=2, before=True
    )
    texts = figures(LiveState(3, total=16).after(gate))
    assert texts["phase"] == "checking the variant: gradients, 25%"
    assert texts["left"] == figures(LiveState(3, total=16))["left"]


def test_a_check_after_the_attack_is_named_with_its_time() -> None:
    state = LiveState(3, curve=((0, 1.0), (1, 0.5)), done=16, total=16, seconds_left=0.0)
    check = events.CheckProgress(run_id=3, detail="square 0.1", share=0.25, seconds_left=65)
    texts = figures(state.after(check))
    assert texts["phase"] == "attacking what is left: square 0.1, 25%"
    assert texts["left"] == "1:05"
    assert state.after(check).curve == state.curve


def test_a_run_is_being_read_until_it_has_been_and_the_newest_wins(
    results: FakeResults, engine: FakeEngineClient, settings: QSettings, qtbot: PatientBot
) -> None:
    thread = Held()
    store = Store(results.path)
    context = make_context(store, QtEngineClient(engine), settings, executor=thread)
    page = PageHarness(qtbot, context).page("live")
    assert page.planning.text.text() == READING
    assert page.stack.currentWidget() is page.planning
    thread.go_on()
    first, second = (results.ids["digits-resnet", "none", attack] for attack in ("pgd", "fgsm"))
    read: list[int] = []
    real = Store.samples

    def samples(self: Store, run_id: int) -> list[SampleRow]:
        read.append(run_id)
        return real(self, run_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "samples", samples)
        for run_id in (first, second):
            page.open(run_id)
            page.draw()
        assert page.stack.currentWidget() is page.board
        assert page.board.figures.values["phase"].text() == READING
        thread.go_on()
        page.draw()
    assert page.board.figures.values["phase"].text() == "finished"
    assert read == [second], "what nobody looks at any more is not read"
    context.close()
    thread.go_on()


def test_what_cannot_be_read_is_said_once(harness: PageHarness) -> None:
    page = harness.page("live")
    run_id = harness.run("digits-resnet", "none", "pgd")
    asked: list[int] = []

    def refuse(self: Store, run_id: int) -> list[SampleRow]:
        asked.append(run_id)
        raise StoreError("The table of samples is damaged.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "samples", refuse)
        page.open(run_id)
        for _ in range(3):
            page._mark()
            page.draw()
    assert page.board.figures.values["phase"].text() == (
        "cannot be read: The table of samples is damaged."
    )
    assert asked == [run_id]


def test_a_frame_and_a_change_look_at_few_of_many_runs(
    harness: PageHarness, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gui.widgets.recent_runs.recent.__defaults__", (3,))
    page = harness.page("live")
    run_id = start(harness, tell)
    page.draw()
    assert 3 <= page.runs.count() <= 4, "the list is as long as asked, and the run that runs"
    assert page.runs.currentData() == run_id
    table = harness.context.runs.table
    counted: Counter[str] = Counter()

    def count(name: str) -> None:
        real = getattr(table, name)

        def counting(*args: Any) -> Any:
            counted[name] += 1
            return real(*args)

        monkeypatch.setattr(table, name, counting)

    for name in ("rows", "where", "like"):
        count(name)
    monkeypatch.setattr(Store, "queue", None)
    monkeypatch.setattr(Store, "results", None)
    for step in range(2, 12):
        tell(harness.context, progress(run_id, step))
        page.draw()
    assert not counted, "a frame looks at no run but its own"
    harness.context.store.annotate(1, note="new")
    harness.context.runs.refresh()
    page.draw()
    assert counted["rows"] <= 3
    assert counted["like"] == 1


def test_charts_are_made_one_a_frame_and_know_the_run(harness: PageHarness, tell: Tell) -> None:
    page = harness.page("live")
    board = page.board
    page.timer.stop()
    tell(harness.context, progress(start(harness, tell), 9))
    for count in (1, 2, 3, 3):
        page.draw()
        made = [name for name in ("curve", "history", "loss") if name in vars(board)]
        assert len(made) == count
    for chart, points in ((board.curve, 9), (board.loss, 8)):
        assert chart.isVisible()
        assert len(chart.line.getData()[0]) == points


def test_a_page_without_runs_makes_no_chart(qtbot: QtBot, context: PageContext) -> None:
    page = PageHarness(qtbot, context).page("live")
    page.draw()
    assert page.stack.currentWidget() is page.empty
    assert "curve" not in vars(page.board)
