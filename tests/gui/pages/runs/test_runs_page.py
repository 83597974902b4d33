"""The Runs page: sorting, filtering, choosing, tagging, deleting, exporting."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QSettings, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest

from engine.store import Store
from gui.base import file_dialogs
from gui.base.model_names import model_title
from gui.base.page_context import make_context
from gui.bridge.engine_client import QtEngineClient
from gui.pages.runs.run_columns import COLUMNS, size_text
from tests.helpers.fake_results import MASKED, FakeResults
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.inline import Held
from tests.helpers.page_kit import PageHarness
from tests.helpers.patient_bot import PatientBot

PLACE = {column.id: place for place, column in enumerate(COLUMNS)}


def rows(page: Any) -> list[Any]:
    return page.table.runs.table.rows(page.table.runs.order)  # type: ignore[no-any-return]


def shown(page: Any, column: str) -> list[Any]:
    return [row[column] for row in rows(page)]


@pytest.mark.parametrize("column", ["robust_accuracy", "size_bytes", "run_id", "compression_rate"])
@pytest.mark.parametrize("order", list(Qt.SortOrder))
def test_numbers_sort_as_numbers_and_missing_ones_last(
    harness: PageHarness, column: str, order: Qt.SortOrder
) -> None:
    page = harness.page("runs")
    page.table.sortByColumn(PLACE[column], order)

    values = shown(page, column)
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=order == Qt.SortOrder.DescendingOrder)
    assert values[: len(known)] == known
    assert len(values) == 20


def test_the_filter_line_narrows_and_refuses_in_words(harness: PageHarness) -> None:
    page = harness.page("runs")
    page.filter_line.set_now("attack=pgd robust>30 model=digits-resnet-at")
    expected = {
        row["run_id"]
        for row in harness.context.store.results()
        if row["model"] == "digits-resnet-at"
        and row["attack"].startswith("pgd")
        and row["robust_accuracy"] > 0.3
    }

    assert set(shown(page, "run_id")) == expected
    assert 0 < len(expected) < 20

    page.filter_line.set_now("attack=pgd bogus=1")
    assert "bogus" in page.filter_note.text()
    assert set(shown(page, "run_id")) == expected, "a mistake must not empty the table"

    page.filter_line.set_now("nothing-is-called-so")
    assert page.stack.currentWidget() is page.no_match
    page.clear_filter()
    assert len(shown(page, "run_id")) == 20


def test_the_selection_is_told_and_stays_with_its_runs(harness: PageHarness) -> None:
    page = harness.page("runs")
    page.table.select([3, 11])
    assert sorted(harness.selections[-1]) == [3, 11]

    page.table.sortByColumn(PLACE["robust_accuracy"], Qt.SortOrder.AscendingOrder)
    harness.context.store.set_deleted([1])
    page.refresh()

    assert 1 not in shown(page, "run_id")
    assert sorted(page.selected_runs()) == [3, 11]


def test_deleting_can_be_undone(harness: PageHarness) -> None:
    page = harness.page("runs")
    page.table.select([2, 5])
    page.setFocus()
    QTest.keyClick(page.table, Qt.Key.Key_Delete)
    assert not {2, 5} & set(shown(page, "run_id"))
    assert page.note.text() == "2 runs deleted; Ctrl+Z brings back."

    harness.undo.undo()
    assert {2, 5} <= set(shown(page, "run_id"))
    assert page.note.text() == "20 shown"


def test_what_was_deleted_is_told_when_it_is_gone(
    results: FakeResults, engine: FakeEngineClient, settings: QSettings, qtbot: PatientBot
) -> None:
    """The write comes later than the key, and what it changes later still."""
    thread = Held()
    context = make_context(Store(results.path), QtEngineClient(engine), settings, executor=thread)
    harness = PageHarness(qtbot, context)
    page = harness.page("runs")
    thread.go_on()
    page.table.select([2])
    page._hide()
    assert page.note.text() == "1 run of 20 selected"
    thread.go_on()
    assert page.note.text() == "1 run deleted; Ctrl+Z brings back."
    page.table.select([5])
    assert page.note.text() == "1 run of 19 selected"
    context.close()
    thread.go_on()


def test_a_running_run_is_not_deleted(harness: PageHarness) -> None:
    harness.context.store.db.execute("UPDATE runs SET status = 'running' WHERE id = 5")
    page = harness.page("runs")
    page.table.select([4, 5])
    page.buttons["delete"].click()

    assert harness.undo.count() == 0
    assert "stop" in page.note.text()


def test_tags_are_set_for_all_selected_runs_and_come_back(harness: PageHarness) -> None:
    harness.context.store.annotate(2, tags="old")
    page = harness.page("runs")
    page.table.select([2, 5])
    page.buttons["tag"].click()
    page.tag_line.setText(" paper,paper , table 2,")
    QTest.keyClick(page.tag_line, Qt.Key.Key_Return)

    tags = {row["run_id"]: row["tags"] for row in rows(page)}
    assert (tags[2], tags[5], tags[6]) == ("paper, table 2", "paper, table 2", "")

    harness.undo.undo()
    tags = {row["run_id"]: row["tags"] for row in rows(page)}
    assert (tags[2], tags[5]) == ("old", "")


def test_a_flag_shows_as_icon_and_in_words(harness: PageHarness) -> None:
    assert harness.results is not None
    page = harness.page("runs")
    column = PLACE["robust_accuracy"]
    flagged = {
        page.table.runs.row(line)["run_id"]
        for line in range(20)
        if page.table.runs.index(line, column).data(Qt.ItemDataRole.DecorationRole)
    }
    stored = harness.context.store.results()
    assert flagged == {row["run_id"] for row in stored if row["flags"]}
    assert harness.results.flagged in flagged
    beaten = [row for row in stored if row["attack"].startswith("fgsm") and row["flags"]]
    assert beaten, "of two attacks on one variant the weaker one is flagged"
    assert {flag["id"] for row in beaten for flag in row["flags"]} == {"stronger-attack"}

    page.table.select([harness.results.flagged])
    index = page.table.currentIndex().siblingAtColumn(column)
    assert index.data(Qt.ItemDataRole.ToolTipRole) == MASKED["text"]


@pytest.mark.parametrize("suffix", [".csv", ".json", ".tex", ".md"])
def test_exports_hold_the_selected_runs(
    harness: PageHarness, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / f"out{suffix}"
    monkeypatch.setattr(file_dialogs, "ask_save", lambda *_: target)
    page = harness.page("runs")
    page.table.select([3, 11, 15])
    page._export(suffix)

    text = target.read_text("utf-8")
    if suffix == ".csv":
        assert {int(row["run_id"]) for row in csv.DictReader(io.StringIO(text))} == {3, 11, 15}
    elif suffix == ".json":
        assert {row["run_id"] for row in json.loads(text)} == {3, 11, 15}
    else:
        assert text.count("pgd-20") == 3
    assert harness.messages[-1].level == "ok"


def test_an_export_that_cannot_be_written_says_so(
    harness: PageHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_dialogs, "ask_save", lambda *_: tmp_path / "missing" / "out.csv")
    harness.page("runs")._export(".csv")

    assert harness.messages[-1].level == "error"


def test_variants_have_short_names_where_these_tell_them_apart(harness: PageHarness) -> None:
    long = "hydra 10% prune_epochs=6 batch_size=64"
    twins = ["kd 5ep lr=0.1", "kd 5ep lr=0.2"]
    briefs = ("hydra 10%", "kd 5ep", "kd 5ep")
    store = harness.context.store
    for run_id, (name, brief) in enumerate(zip([long, *twins], briefs, strict=True), 1):
        store.db.execute(
            "UPDATE runs SET compression = ?, recipe = ? WHERE id = ?",
            (name, json.dumps([{"name": "x", "label": name, "brief": brief}]), run_id),
        )
    store.set_deleted(range(4, 21))
    page = harness.page("runs")
    page.table.sortByColumn(PLACE["run_id"], Qt.SortOrder.AscendingOrder)

    def cells(role: Qt.ItemDataRole) -> list[Any]:
        model = page.table.runs
        column = PLACE["compression"]
        return [model.index(i, column).data(role) for i in range(model.rowCount())]

    assert cells(Qt.ItemDataRole.DisplayRole) == ["hydra 10%", *twins]
    assert cells(Qt.ItemDataRole.ToolTipRole) == [long, *twins]

    # One of the twins is gone, so the other needs no more words.
    store.set_deleted([3])
    page.refresh()
    assert cells(Qt.ItemDataRole.DisplayRole) == ["hydra 10%", "kd 5ep"]


def test_copying_gives_the_columns_that_are_seen_with_names_in_full(harness: PageHarness) -> None:
    harness.context.store.db.execute("UPDATE runs SET compression = 'kd 5ep lr=0.1' WHERE id = 3")
    page = harness.page("runs")
    page.refresh()
    page.table.show_column(PLACE["tags"], False)
    page.table.select([3, 11])
    page.setFocus()
    QTest.keyClick(page.table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)

    lines = QGuiApplication.clipboard().text().strip().split("\n")
    head = lines[0].split("\t")
    assert len(lines) == 3
    assert "Tags" not in head
    assert {line.split("\t")[head.index("Run")] for line in lines[1:]} == {"3", "11"}
    assert "kd 5ep lr=0.1" in {line.split("\t")[head.index("Compression")] for line in lines[1:]}


def test_columns_filter_and_order_survive_a_restart(harness: PageHarness) -> None:
    page = harness.page("runs")
    page.table.show_column(PLACE["seconds"], True)
    page.table.show_column(PLACE["tags"], False)
    page.filter_line.set_now("attack=pgd")
    page.table.sortByColumn(PLACE["size_bytes"], Qt.SortOrder.AscendingOrder)
    page.save_state()

    again = harness.page("runs")
    assert not again.table.isColumnHidden(PLACE["seconds"])
    assert again.table.isColumnHidden(PLACE["tags"])
    assert shown(again, "run_id") == shown(page, "run_id")


def test_enter_inspects_and_compare_takes_the_selection(harness: PageHarness) -> None:
    page = harness.page("runs")
    page.table.select([11])
    QTest.keyClick(page.table, Qt.Key.Key_Return)
    page.table.select([11, 13])
    page.buttons["compare"].click()

    assert harness.visits[0] == ("inspector", 11)
    where, run_ids = harness.visits[1]
    assert (where, sorted(run_ids)) == ("compare", [11, 13])


def test_refreshing_arranges_only_what_changed(
    harness: PageHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = harness.page("runs")
    arranged: list[str] = []
    monkeypatch.setattr(page.table.runs, "arrange", lambda: arranged.append("again"))
    page.refresh()
    assert arranged == []
    harness.context.store.annotate(3, note="new")
    page.refresh()
    assert arranged == ["again"]


def test_what_moves_keeps_its_selection_and_the_place_that_is_seen(harness: PageHarness) -> None:
    page = harness.page("runs")
    page.table.sortByColumn(PLACE["run_id"], Qt.SortOrder.AscendingOrder)
    page.table.select([15])
    seen = page.table.verticalScrollBar().value()
    page.table.select([3, 4, 5, 15])
    page.table.verticalScrollBar().setValue(seen)
    harness.context.store.set_deleted([1])
    page.refresh()
    assert page.selected_runs() == [3, 4, 5, 15]
    assert page.table.verticalScrollBar().value() == seen
    assert page.table.runs.row(page.table.currentIndex().row())["run_id"] == 3


def test_any_order_is_that_of_the_values_shown(harness: PageHarness) -> None:
    """Whatever column, either way: equal to sorting the rows themselves."""
    page = harness.page("runs")
    harness.context.store.tag({3: "b", 5: "A", 7: "c"})
    page.refresh()
    stored = {row["run_id"]: row for row in harness.context.store.results()}
    words = {"model": lambda row: model_title(row["model"]), "model_id": lambda row: row["model"]}
    for number, column in enumerate(COLUMNS):

        def key(row: Any, column: Any = column) -> Any:
            if column.id in words:
                return words[column.id](row).casefold()
            norm = str(row["norm"]).lower()  # a perturbation is measured in that of its attack
            value = row[f"avg_{column.id}_{norm}" if column.id == "perturbation" else column.id]
            value = ", ".join(flag["id"] for flag in value) if column.id == "flags" else value
            return (value.casefold() or None) if isinstance(value, str) else value

        up = sorted((row for row in stored.values() if key(row) is not None), key=key)
        missing = [row for row in stored.values() if key(row) is None]
        for order, expected in (
            (Qt.SortOrder.AscendingOrder, [*up, *missing]),
            (Qt.SortOrder.DescendingOrder, [*up[::-1], *missing[::-1]]),
        ):
            page.table.sortByColumn(number, order)
            assert shown(page, "run_id") == [row["run_id"] for row in expected], column.id


def test_runs_that_are_not_read_yet_are_selected_when_they_are(
    results: FakeResults, engine: FakeEngineClient, settings: QSettings, qtbot: PatientBot
) -> None:
    thread = Held()
    store = Store(results.path)
    context = make_context(store, QtEngineClient(engine), settings, executor=thread)
    page = PageHarness(qtbot, context).page("runs")
    page.open([4, 99])
    assert page.stack.currentWidget() is page.reading
    assert page.selected_runs() == []
    thread.go_on()
    assert page.stack.currentWidget() is page.table
    assert page.selected_runs() == [4]
    page.table.clearSelection()
    store.annotate(4, note="later")
    page.refresh()
    thread.go_on()
    assert page.selected_runs() == []
    context.close()
    thread.go_on()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (310_000, "310 kB"),
        (4.2e9, "4.2 GB"),
    ],
)
def test_sizes_are_readable(count: float | None, text: str) -> None:
    assert size_text(count) == text
