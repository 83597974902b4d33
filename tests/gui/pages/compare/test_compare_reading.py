"""The Compare page reads beside the window: what it shows meanwhile, and how much it reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from engine.errors import StoreError
from engine.store import ResultRow, Store
from gui.base import theme
from gui.base.page_context import PageContext, make_context
from gui.bridge.engine_client import QtEngineClient
from gui.pages.compare import compared_runs
from gui.pages.compare import page as compare_page
from gui.pages.compare.compared_runs import Selection
from tests.helpers import curve_store
from tests.helpers.fake_results import STUDY, FakeResults
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.inline import Held
from tests.helpers.page_kit import PageHarness


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def full_context(
    results: FakeResults,
    engine: FakeEngineClient,
    settings: QSettings,
    qapp: QApplication,
    held: Held,
) -> Iterator[PageContext]:
    """A context that reads when it is told to."""
    curve_store.fill(results.path)
    theme.install(qapp, settings, "light")
    context = make_context(Store(results.path), QtEngineClient(engine), settings, executor=held)
    yield context
    held.go_on()
    context.close()
    held.go_on()


def shown(page: Any) -> Any:
    return page.stack.currentWidget()


def test_until_the_runs_are_there_the_page_says_that_it_reads(
    harness: PageHarness, held: Held
) -> None:
    page = harness.page("compare")
    assert shown(page) is page.reading
    assert page.drawn_runs() == []
    assert not page.export_button.isEnabled()
    held.go_on()
    assert shown(page) is page.content
    assert page.export_button.isEnabled()


def test_what_was_chosen_last_is_drawn_and_nothing_of_before(
    harness: PageHarness, held: Held
) -> None:
    page = harness.page("compare")
    page.open(STUDY)
    held.go_on()
    before = page.drawn_runs()
    drawn: list[list[int]] = []
    page.tradeoff.told.connect(lambda: drawn.append(page.tradeoff.drawn_runs()))
    page.open("curves")
    assert shown(page) is page.reading
    assert not page.export_button.isEnabled()
    page.open([before[0]])
    held.go_on()
    assert drawn == [[before[0]]], "the answer about the study came too late to be drawn"
    assert shown(page) is page.content


def test_another_chart_is_seen_when_it_has_the_runs_in_question(
    harness: PageHarness, held: Held
) -> None:
    page = harness.page("compare")
    page.open("curves")
    held.go_on()
    page.switch.button(1).setChecked(True)
    assert shown(page) is page.reading
    held.go_on()
    assert shown(page) is page.content
    assert set(page.drawn_runs()) > {page.security.panel().lines[0].row["run_id"]}
    page.open([page.security.panel().lines[0].row["run_id"]])
    held.go_on()
    page.switch.button(0).setChecked(True)
    assert shown(page) is page.reading, "the trade-off still has the runs of the study"
    held.go_on()
    assert (shown(page), page.drawn_runs()) == (page.content, []), "a run of distances"


def test_a_filter_leaves_the_chart_until_the_next_one_is_there(
    harness: PageHarness, held: Held
) -> None:
    page = harness.page("compare")
    page.open(STUDY)
    held.go_on()
    page.filter_line.set_now("attack=fgsm")
    assert shown(page) is page.content
    held.go_on()
    assert len(page.drawn_runs()) == 8
    page.filter_line.set_now("attack=nothing")
    held.go_on()
    assert shown(page) is page.no_match


def test_runs_that_did_not_change_are_neither_read_nor_drawn_again(
    harness: PageHarness, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = harness.page("compare")
    page.open(STUDY)
    held.go_on()
    asked: list[int] = []
    given = Store.with_specs

    def with_specs(store: Store, rows: Any) -> list[ResultRow]:
        rows = list(rows)
        asked.extend(row["run_id"] for row in rows)
        return given(store, rows)

    drawn: list[object] = []
    monkeypatch.setattr(Store, "with_specs", with_specs)
    monkeypatch.setattr(page.tradeoff.chart, "show_series", lambda *a: drawn.append(a))
    store = harness.context.store
    changed = page.drawn_runs()[0]
    store.annotate(harness.results.waiting, tags="of another")
    harness.context.runs.refresh()
    held.go_on()
    assert (asked, drawn) == ([], [])
    with store.db.atomic():
        store.db.execute("UPDATE runs SET robust_accuracy = 0.123 WHERE id = ?", (changed,))
    harness.context.runs.refresh()
    held.go_on()
    assert asked == [], "what a run does never changes"
    assert len(drawn) == 1


def test_what_changes_while_it_is_read_does_not_keep_the_page_waiting(
    harness: PageHarness, held: Held
) -> None:
    """While a study works, changes may come faster than they are read."""
    page = harness.page("compare")
    held.go_on()
    page.open(STUDY)
    before = page._asked
    harness.context.store.annotate(harness.results.waiting, tags="of another")
    harness.context.runs.refresh()
    page.refresh()
    assert page._asked is before, "it would be too late again and again"
    held.go_on()
    assert shown(page) is page.content
    assert page._asked is not before


def test_pairs_that_come_while_runs_are_read_are_asked_for_afterwards(
    harness: PageHarness, held: Held
) -> None:
    page = harness.page("compare")
    page.switch.button(2).click()
    held.go_on()
    page.open(STUDY)
    before = page._asked
    store = harness.context.store
    with store.db.atomic():  # a write that is none of runs, as a judged pair is
        store.db.execute("UPDATE identity SET id = id")
    page.refresh()
    assert page._asked is before
    held.go_on()
    assert page._asked is not before


def test_too_many_runs_are_neither_read_nor_drawn(
    harness: PageHarness, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = harness.page("compare")
    page.open(STUDY)
    held.go_on()
    monkeypatch.setattr(compare_page, "MOST_RUNS", 17)
    asked: list[object] = []
    monkeypatch.setattr(Store, "with_specs", lambda *given: asked.append(given))
    page.show_all()
    held.go_on()
    assert shown(page) is page.too_many
    assert "24 runs are too many" in page.too_many.text.text()
    assert (asked, page.export_button.isEnabled()) == ([], False)
    monkeypatch.undo()
    page.filter_line.set_now("attack=fgsm")
    held.go_on()
    assert shown(page) is page.content
    assert len(page.drawn_runs()) == 8


def test_the_database_is_asked_for_the_runs_of_the_selection_alone(
    harness: PageHarness, held: Held
) -> None:
    harness.context.runs.refresh()
    held.go_on()
    table = harness.context.runs.table
    rows = {row["run_id"]: row for row in harness.context.store.results()}
    compressed = next(
        id_
        for id_, row in rows.items()
        if row["compression"] == "magnitude 50%" and row["robust_accuracy"] is not None
    )
    selection = Selection(only=(compressed,))
    read = compared_runs.reader(table, selection, selection.places(table), {})
    found = read(harness.context.store)
    assert [row["run_id"] for row in found.rows] == [compressed]
    base = found.references[compressed]
    assert base["compression"] == "none"
    assert {row["model"] for row in found.known} == {rows[compressed]["model"]}
    assert {row["attack"] for row in found.known} == {rows[compressed]["attack"]}


def test_what_cannot_be_read_is_told_in_place_of_the_chart(
    harness: PageHarness, held: Held
) -> None:
    page = harness.page("compare")
    page.open(STUDY)
    held.go_on()
    store = harness.context.store
    run_id = page.drawn_runs()[0]
    page.open("curves")
    held.go_on()
    (spec,) = store.db.execute("SELECT spec FROM runs WHERE id = ?", (run_id,)).fetchone()

    def write(text: str) -> None:
        with store.db.atomic():
            store.db.execute("UPDATE runs SET spec = ? WHERE id = ?", (text, run_id))
        harness.context.runs.refresh()
        held.go_on()

    write("{")
    page.open(STUDY)
    held.go_on()
    assert shown(page) is page.trouble
    assert f"run {run_id}" in page.trouble.text.text()
    assert not page.export_button.isEnabled()
    page.open("curves")
    held.go_on()
    assert shown(page) is page.content, "other runs are drawn as before"
    write(spec)
    page.open(STUDY)
    held.go_on()
    assert shown(page) is page.content


@pytest.mark.parametrize("chart", [1, 2])
def test_a_chart_that_cannot_be_read_is_told_of(
    harness: PageHarness, held: Held, monkeypatch: pytest.MonkeyPatch, chart: int
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise StoreError("The disk is gone.")

    page = harness.page("compare")
    page.open("curves")
    held.go_on()
    for name in ("samples", "has_transfers"):
        monkeypatch.setattr(Store, name, broken)
    page.switch.button(chart).setChecked(True)
    held.go_on()
    assert shown(page) is page.trouble
    assert page.trouble.text.text() == "The disk is gone."
    page.switch.button(0).setChecked(True)
    held.go_on()
    assert shown(page) is page.content, "the trade-off needs neither images nor pairs"
