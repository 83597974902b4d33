"""The Compare page: the switch of charts, security curves, the transfer matrix."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPointF, QSettings, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine import events
from engine.statistics.words import in_percent
from engine.store import Store
from gui.base import file_dialogs, theme
from gui.base.page_context import PageContext, make_context
from gui.bridge.engine_client import QtEngineClient
from gui.pages.compare.page import VIEWS
from gui.shell.main_window import MainWindow
from tests.helpers import curve_store
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.inline import Inline
from tests.helpers.page_kit import PageHarness, Tell

_Role = Qt.ItemDataRole


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Curves of two variants, checked by stronger runs, and their transfers."""
    path = tmp_path / "curves.db"
    ids = curve_store.fill(path, stronger=8)
    curve_store.add_transfers(path, [ids[0::3], ids[1::3], ids[2::3]])
    return path


@pytest.fixture
def context(
    database: Path, engine: FakeEngineClient, settings: QSettings, qapp: QApplication
) -> Iterator[PageContext]:
    theme.install(qapp, settings, "light")
    store = Store(database)
    context = make_context(store, QtEngineClient(engine), settings, executor=Inline())
    yield context
    context.close()


@pytest.fixture
def harness(qtbot: QtBot, context: PageContext) -> PageHarness:
    return PageHarness(qtbot, context)


def page_with(harness: PageHarness, chart: str) -> Any:
    """The page with one of its charts in sight, and everything drawn."""
    page = harness.page("compare")
    show(harness, page, chart)
    return page


def show(harness: PageHarness, page: Any, chart: str) -> None:
    place = [kind.id for kind in VIEWS].index(chart)
    QTest.mouseClick(page.switch.button(place), Qt.MouseButton.LeftButton)
    settle(harness, page)


def settle(harness: PageHarness, page: Any) -> None:
    harness.qtbot.waitUntil(page.settled)


def test_the_switch_is_reached_and_moved_by_keys_and_remembered(harness: PageHarness) -> None:
    page = harness.page("compare")
    first, second, third = page.switch.buttons()
    assert first.isChecked()
    first.setFocus()
    QTest.keyClick(first, Qt.Key.Key_Right)
    assert second.isChecked()
    assert page.charts.currentWidget() is page.security
    QTest.keyClick(second, Qt.Key.Key_Right)
    assert third.isChecked()
    assert page.controls.currentWidget() is page.transfer.controls
    page.transfer.attack_box.setCurrentIndex(2)
    page.transfer.measure_box.setCurrentIndex(1)
    settle(harness, page)
    page.save_state()
    again = harness.page("compare")
    settle(harness, again)
    assert again.view() is again.transfer
    assert again.transfer.attack_box.currentText() == "pgd-l2-40 1"
    assert again.transfer.measure_box.currentData().column == "accuracy"


def test_curves_bands_and_points_are_drawn(harness: PageHarness) -> None:
    page = page_with(harness, "security")
    chart, panel = page.security.chart, page.security.panel()
    assert [line.row["run_id"] for line in panel.lines] == [1, 4]
    for item, line in zip(chart.lines.items.values(), panel.lines, strict=True):
        x, y = item.getData()
        assert set(x) <= set(line.curve.eps), "without the middles of level pieces"
        assert list(np.interp(line.curve.eps, x, y)) == pytest.approx(line.curve.robust_accuracy)
    assert len(chart.bands) == 2
    stored = {row["run_id"]: row for row in harness.context.store.results()}
    spots = chart.spots.points()
    assert {spot.data().run_id for spot in spots} == {2, 3, 5, 6}
    for spot in spots:
        row = stored[spot.data().run_id]
        assert (spot.pos().x(), spot.pos().y()) == (row["eps"], row["robust_accuracy"])
    doubted = [check.row["eps"] for _, check in panel.checks if check.too_optimistic]
    assert doubted == [ring.pos().x() for ring in chart.rings.points()] == [0.5, 0.5]
    assert "Too optimistic" in page.security.note.text()
    assert "Hollow" in page.security.note.text()
    assert set(page.drawn_runs()) == {1, 2, 3, 4, 5, 6}


def test_a_flagged_curve_is_hollow_in_both_themes(harness: PageHarness) -> None:
    page = page_with(harness, "security")
    for mode in ("dark", "light"):
        theme.current().use(mode)
        paper = QColor(theme.plot_colours().background)
        signs = page.security.chart.hollow.points()
        assert len(signs) == 7
        curve = page.security.panel().lines[1].curve
        for sign in signs:
            assert sign.brush().color() == paper
            assert sign.pen().color() == QColor(theme.series(1).colour)
            place = list(curve.eps).index(sign.pos().x())
            assert sign.pos().y() == curve.robust_accuracy[place]


def test_the_values_under_the_pointer_are_those_of_the_curves(harness: PageHarness) -> None:
    page = page_with(harness, "security")
    chart = page.security.chart
    place = chart.plotItem.getViewBox().mapViewToScene(QPointF(0.5, 0.5))
    chart._on_move(place)
    text = page.security.values.text()
    eps = chart.plotItem.getViewBox().mapSceneToView(place).x()
    for line in page.security.panel().lines:
        here = line.at(eps)
        assert f"{line.name}: {in_percent(here.robust_accuracy[0])} %" in text
    chart._on_move(QPointF(-50, -50))
    assert not page.security.values.text()


def test_a_click_on_a_curve_or_a_point_selects_its_run(harness: PageHarness) -> None:
    page = page_with(harness, "security")
    chart = page.security.chart
    spot = chart.spots.points()[1]
    place = chart.mapFromScene(chart.spots.mapToScene(spot.pos()))
    QTest.mouseClick(chart.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert harness.selections[-1] == [spot.data().run_id]
    curve = page.security.panel().lines[0].curve
    middle = QPointF(curve.eps[200], curve.robust_accuracy[200])
    box = chart.plotItem.getViewBox()
    where = chart.mapFromScene(box.mapViewToScene(middle))
    QTest.mouseClick(chart.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert harness.selections[-1] == page.table.selected() == [1]


def test_unticking_a_curve_takes_it_and_its_points_away(harness: PageHarness) -> None:
    page = page_with(harness, "security")
    page.security.series.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert set(page.drawn_runs()) == {4, 5, 6}
    assert len(page.security.chart.lines.items) == 1
    page.security.series.item(1).setCheckState(Qt.CheckState.Unchecked)
    assert page.drawn_runs() == []
    assert not page.export_button.isEnabled()
    page.security.series.item(0).setCheckState(Qt.CheckState.Checked)
    assert set(page.drawn_runs()) == {1, 2, 3}
    assert page.export_button.isEnabled()


def test_without_distances_or_pairs_the_charts_say_what_is_missing(
    qtbot: QtBot, full_context: PageContext
) -> None:
    harness = PageHarness(qtbot, full_context)
    page = page_with(harness, "security")
    assert page.security.stack.currentWidget() is page.security.empty
    assert "such as fmn" in page.security.empty.text.text()
    page.security.empty.buttons[0].click()
    assert harness.visits[-1][0] == "new"
    show(harness, page, "transfer")
    assert page.transfer.stack.currentWidget() is page.transfer.empty
    assert "started again" in page.transfer.empty.text.text()
    page.open([1])
    settle(harness, page)
    assert "two variants" in page.transfer.empty.text.text()
    assert not page.export_button.isEnabled()


def test_the_matrix_shows_rates_or_accuracies(harness: PageHarness) -> None:
    page = page_with(harness, "transfer")
    model, pairs = page.transfer.model, harness.context.store.transfers()
    rows = {(row["source_run"], row["target_run"]): row for row in pairs}
    assert page.transfer.attack_box.count() == 3
    assert model.rowCount() == model.columnCount() == 2
    for measure, column in enumerate(("transfer_rate", "accuracy")):
        page.transfer.measure_box.setCurrentIndex(measure)
        for row in range(2):
            for place in range(2):
                index = model.index(row, place)
                pair = (1, 4)[row], (1, 4)[place]
                text = in_percent(rows[pair][column])
                assert index.data() == (f"({text})" if 4 in pair else text), "run 4 is flagged"
                assert index.data(_Role.BackgroundRole).isValid()
                assert f"of {rows[pair]['n']} images" in index.data(_Role.ToolTipRole)
    assert model.index(0, 0).data(_Role.FontRole).bold()
    assert "White-box" in model.index(1, 1).data(_Role.ToolTipRole)
    assert "n = 20" in page.transfer.note.text()


def test_a_cell_selects_source_and_target_by_mouse_and_keys(harness: PageHarness) -> None:
    page = page_with(harness, "transfer")
    table = page.transfer.table
    cell = table.visualRect(page.transfer.model.index(0, 1)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=cell)
    assert harness.selections[-1] == [1, 4]
    QTest.keyClick(table, Qt.Key.Key_Down)
    QTest.keyClick(table, Qt.Key.Key_Return)
    assert harness.selections[-1] == page.table.selected() == [4]


@pytest.mark.parametrize("chart", ["security", "transfer"])
def test_data_picture_and_figure_of_each_chart(
    harness: PageHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chart: str
) -> None:
    page = page_with(harness, chart)
    for suffix in (".csv", ".svg", ".png"):
        monkeypatch.setattr(
            file_dialogs, "ask_save", lambda *_, end=suffix: tmp_path / f"chart{end}"
        )
        page.export_menu.write_here(suffix)
        assert harness.messages[-1].level == "ok"
    with (tmp_path / "chart.csv").open() as file:
        rows = list(csv.DictReader(file))
    if chart == "security":
        line = page.security.panel().lines[0]
        mine = [row for row in rows if (row["run_id"], row["what"]) == ("1", "curve")]
        assert [float(row["eps"]) for row in mine] == list(line.curve.eps)
        assert {row["run_id"] for row in rows if row["what"] == "check"} == {"2", "3", "5", "6"}
    else:
        assert {(row["source_run"], row["target_run"]) for row in rows} == {
            (a, b) for a in "14" for b in "14"
        }
    assert ElementTree.parse(tmp_path / "chart.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    target = tmp_path / "figure.svg"
    monkeypatch.setattr(file_dialogs, "ask_save", lambda *_: target)
    page.export_menu.write_figure(".svg")
    harness.qtbot.waitUntil(lambda: str(target) in harness.messages[-1].text and target.exists())
    harness.qtbot.waitUntil(lambda: harness.messages[-1].level == "ok")
    assert "magnitude 50%" in "".join(ElementTree.parse(target).getroot().itertext())


def test_the_export_menu_names_the_chart_in_sight(harness: PageHarness) -> None:
    page = page_with(harness, "transfer")
    page.export_menu.aboutToShow.emit()
    assert "transfer rates" in page.export_menu.actions()[0].text()


def test_new_pairs_appear_while_the_page_is_open(tmp_path: Path, harness: PageHarness) -> None:
    page = page_with(harness, "transfer")
    page.transfer.attack_box.setCurrentIndex(1)
    before = page.transfer.model.index(0, 1).data()
    harness.context.store.db.execute(
        "UPDATE transfers SET fooled = 13 WHERE source_run != target_run"
    )
    harness.context.store.db.conn.commit()
    page.refresh()
    settle(harness, page)
    assert page.transfer.attack_box.currentIndex() == 1
    assert before != page.transfer.model.index(0, 1).data() == "65.0"


def test_the_stage_is_told_in_the_status_bar_and_can_be_stopped(
    qtbot: QtBot, context: PageContext, engine: FakeEngineClient, tell: Tell
) -> None:
    window = MainWindow(context)
    qtbot.addWidget(window)

    def stage(detail: str, done: int) -> events.StudyStage:
        return events.StudyStage(study_id=1, stage="transfer", detail=detail, done=done, total=4)

    tell(context, stage("digits-resnet · none · fgsm", 1))
    assert "digits-resnet · none" in window.status.job.text()
    assert window.status.progress.format() == "1 / 4 pairs"
    window.status.set_counts(0, 6, 6)
    assert "digits-resnet · none" in window.status.job.text()
    window.status.stop_button.click()
    assert engine.calls[-1] == ("halt", None)
    assert window.toast.message is not None
    assert "the queue is paused" in window.toast.message.text
    window.toast.clear()
    tell(context, stage("", 1))
    assert window.status.job.text() == "nothing to do"
    assert not window.status.stop_button.isEnabled()


def test_curves_without_a_check_are_drawn(harness: PageHarness) -> None:
    page = harness.page("compare")
    page.open([1, 4])
    show(harness, page, "security")
    assert len(page.security.chart.lines.items) == 2
    assert page.drawn_runs() == [1, 4]
    page.security.series.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert page.drawn_runs() == [4]


@pytest.mark.parametrize("chart", ["tradeoff", "security"])
def test_a_picture_has_the_legend_of_what_is_ticked(
    harness: PageHarness, tmp_path: Path, chart: str
) -> None:
    page = page_with(harness, chart)
    view = page.view()
    names = [view.series.item(row).text() for row in range(view.series.count())]
    assert len(names) > 1
    page.view().save(tmp_path / "all.svg")
    page.view().save(tmp_path / "all.png")
    view.series.item(0).setCheckState(Qt.CheckState.Unchecked)
    page.view().save(tmp_path / "less.svg")
    page.view().save(tmp_path / "less.png")
    texts = {
        file: "".join(ElementTree.parse(tmp_path / file).getroot().itertext())
        for file in ("all.svg", "less.svg")
    }
    assert all(name in texts["all.svg"] for name in names)
    assert names[0] not in texts["less.svg"].replace(names[1], "")
    tall, low = (QImage(str(tmp_path / f"{name}.png")) for name in ("all", "less"))
    assert tall.height() > low.height() > 2 * view.chart.height()
    background = QColor(theme.plot_colours().background)
    entry = [tall.pixelColor(x, tall.height() - 36) for x in range(tall.width())]
    assert any(part != background for part in entry)
