"""A run of those that are compared changes: the Compare page touches what is of it, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from engine.store import Store, Writer
from engine.store.seals import seal_rows
from gui.base import theme
from gui.base.page_context import PageContext, make_context
from gui.bridge.engine_client import QtEngineClient
from gui.widgets.plots import Plot
from tests.helpers import curve_store
from tests.helpers.fake_results import STUDY, FakeResults
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.inline import Inline
from tests.helpers.page_kit import PageHarness


@pytest.fixture
def full_context(
    results: FakeResults, engine: FakeEngineClient, settings: QSettings, qapp: QApplication
) -> Iterator[PageContext]:
    """The usual runs, and a study of curves whose pairs are judged."""
    ids = curve_store.fill(results.path)
    curve_store.add_transfers(results.path, [ids[0::3], ids[1::3], ids[2::3]])
    theme.install(qapp, settings, "light")
    context = make_context(Store(results.path), QtEngineClient(engine), settings, executor=Inline())
    yield context
    context.close()


@pytest.fixture
def page(harness: PageHarness) -> Any:
    """The study in the trade-off, with every difference."""
    page = harness.page("compare")
    page.open(STUDY)
    assert page.settled()
    page.grab()
    return page


class Told:
    """What a model tells its views."""

    def __init__(self, model: Any) -> None:
        self.resets = 0
        self.lines: list[tuple[int, int]] = []
        model.modelReset.connect(self._reset)
        model.dataChanged.connect(lambda top, end: self.lines.append((top.row(), end.row())))

    def _reset(self) -> None:
        self.resets += 1


def judge(harness: PageHarness, run_id: int, share: float) -> None:
    """Another process finishes the run with this share."""
    with Writer(harness.context.store.path) as writer, writer.db.atomic():
        writer.db.execute("UPDATE runs SET robust_accuracy = ? WHERE id = ?", (share, run_id))
        seal_rows(writer.db, "runs", "id = ?", (run_id,))
    harness.context.client.rows_changed.emit()


def test_the_table_tells_of_the_line_that_changed(harness: PageHarness, page: Any) -> None:
    model, shown = page.table.model_, [one.row["run_id"] for one in page.table.model_.comparisons]
    page.table.choose([shown[2]])
    told = Told(model)
    judge(harness, shown[5], 0.123)
    assert (told.resets, told.lines) == (0, [(5, 5)])
    assert model.index(5, 4).data().startswith("12.3 ")
    assert page.table.selected() == [shown[2]]
    assert [one.row["run_id"] for one in model.comparisons] == shown


def test_the_chart_moves_the_point_and_paints_no_axis_anew(
    harness: PageHarness, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted: list[Plot] = []
    monkeypatch.setattr(Plot, "recolour", painted.append)
    ticks: list[object] = []
    axis = page.tradeoff.chart.plotItem.getAxis("bottom")
    monkeypatch.setattr(axis, "setTicks", ticks.append)
    run_id = page.drawn_runs()[3]
    judge(harness, run_id, 0.123)
    points = page.tradeoff.chart.spots.cloud.points
    assert next(point.y for point in points if point.run_id == run_id) == 0.123
    assert (painted, ticks) == ([], [])


def test_the_list_of_series_stays_until_it_says_something_else(
    harness: PageHarness, page: Any, results: FakeResults
) -> None:
    listed, rebuilt = page.tradeoff.series, []
    listed.model().rowsInserted.connect(lambda *_: rebuilt.append(1))
    tip = listed.item(0).toolTip()
    judge(harness, page.drawn_runs()[3], 0.123)
    assert rebuilt == []
    harness.context.store.set_deleted([page.drawn_runs()[0]])
    harness.context.client.rows_changed.emit()
    assert rebuilt
    assert listed.item(0).toolTip() != tip


def test_a_series_that_is_unticked_stays_so_when_a_run_changes(
    harness: PageHarness, page: Any
) -> None:
    before = page.drawn_runs()
    page.tradeoff.series.item(0).setCheckState(page.tradeoff.series.item(0).checkState().Unchecked)
    left = page.drawn_runs()
    assert set(left) < set(before)
    judge(harness, left[0], 0.123)
    assert page.drawn_runs() == left


def test_a_run_that_loses_its_baseline_says_so(harness: PageHarness, page: Any) -> None:
    """Its own row is as it was."""
    page.filter_line.set_now("compression!=none")
    lines = page.table.model_.comparisons
    line = next(number for number, one in enumerate(lines) if one.difference)
    base = page._runs.references[lines[line].row["run_id"]]["run_id"]
    told = Told(page.table.model_)
    harness.context.store.set_deleted([base])
    harness.context.client.rows_changed.emit()
    assert told.resets == 0
    assert page.table.model_.comparisons[line].reason == "no baseline"


def test_where_many_runs_changed_the_table_is_told_once(
    harness: PageHarness, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gui.pages.compare.difference_table._FEW", 2)
    told = Told(page.table.model_)
    with harness.context.store.db.atomic():
        for run_id in page.drawn_runs()[:3]:
            harness.context.store.annotate(run_id, tags="three")
    harness.context.client.rows_changed.emit()
    assert (told.resets, told.lines) == (1, [])


def test_pairs_are_read_for_the_transfer_chart_alone(harness: PageHarness, page: Any) -> None:
    store = harness.context.store
    before = page._asked
    with store.db.atomic():  # a write that is none of runs, as a judged pair is
        store.db.execute("UPDATE identity SET id = id")
    harness.context.client.rows_changed.emit()
    assert page._asked is before
    page.open("curves")
    page.switch.button(2).click()
    told = Told(page.transfer.model)
    harness.context.client.rows_changed.emit()
    with store.db.atomic():
        store.db.execute("UPDATE identity SET id = id")
    harness.context.client.rows_changed.emit()
    assert told.resets == 0, "the same pairs"
    with store.db.atomic():
        store.db.execute("UPDATE transfers SET fooled = 0")
    harness.context.client.rows_changed.emit()
    assert told.resets == 1
