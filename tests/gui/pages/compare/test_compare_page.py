"""The Compare page: series, paired differences, exports."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ElementTree
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPainterPath
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot
from scipy import stats

from engine.report.differences import references
from engine.report.naming import titled
from engine.report.series import X_AXES, Y_AXES, methods_of, series_of, wants_log
from engine.specs.study import Study
from engine.statistics.intervals import paired_difference
from engine.store import RunKeys, Writer
from gui.base import file_dialogs, theme
from gui.base.model_names import model_title, titles
from gui.bridge.engine_process import FileProcess
from gui.pages.compare.compared_runs import Baseline
from gui.pages.compare.markers import shape
from tests.helpers.fake_results import STUDY
from tests.helpers.page_kit import PageHarness

RATE, SIZE, *_, EPS = X_AXES
ROBUST, CLEAN, _ = Y_AXES


def settled(harness: PageHarness) -> Any:
    """A page whose differences are all computed."""
    page = harness.page("compare")
    wait(harness, page)
    return page


def wait(harness: PageHarness, page: Any) -> None:
    harness.qtbot.waitUntil(page.settled)


def finished(harness: PageHarness) -> list[dict[str, Any]]:
    store = harness.context.store
    return store.with_specs(row for row in store.results() if row["status"] == "finished")


def with_attack(row: dict[str, Any], run_id: int, norm: str = "", **params: Any) -> dict[str, Any]:
    """A row of another attack: these of its parameters differ."""
    attack = row["spec"]["attack"]
    changed = {**attack, "params": {**attack["params"], **params}}
    more = {"eps": params["eps"]} if "eps" in params else {}
    spec = {**row["spec"], "attack": changed}
    return {**row, **more, "run_id": run_id, "norm": norm or row["norm"], "spec": spec}


def test_differences_are_those_of_the_statistics(harness: PageHarness) -> None:
    page = settled(harness)
    store = harness.context.store

    def broken(run_id: int) -> list[bool]:
        return [sample["broken"] for sample in store.samples(run_id)]

    compared = 0
    for comparison in page.table.model_.comparisons:
        row = comparison.row
        if row["compression"] == "none":
            assert (comparison.difference, comparison.reason) == (None, "baseline")
            continue
        attack = row["attack"].split("-")[0].split(" ")[0]
        reference = harness.run(row["model"], "none", attack)
        expected = paired_difference(broken(row["run_id"]), broken(reference))
        assert comparison.difference == expected
        assert expected.difference == pytest.approx(
            row["robust_accuracy"] - store.result(reference)["robust_accuracy"]
        )
        compared += 1
    assert compared == 14


def test_runs_on_other_images_are_not_compared(harness: PageHarness) -> None:
    run_id = harness.run("digits-resnet-at", "ptq w4", "pgd")
    harness.context.store.db.execute(
        'UPDATE samples SET "index" = "index" + 1 WHERE run_id = ?', (run_id,)
    )
    page = settled(harness)
    by_run = {comparison.row["run_id"]: comparison for comparison in page.table.model_.comparisons}

    assert by_run[run_id].difference is None
    assert by_run[run_id].reason == "other images"


def choose_baseline(page: Any, model: str, compression: str) -> None:
    """As a person does in the box."""
    panel = page.differences
    offered = [panel.box.itemData(line) for line in range(panel.box.count())]
    line = offered.index(Baseline(model, compression))
    panel.box.setCurrentIndex(line)
    panel.box.activated.emit(line)


def test_every_variant_is_tested_against_a_baseline_of_ones_choice(harness: PageHarness) -> None:
    """Beside the same attack on that variant, of whichever model; by scipy, and Holm by hand."""
    page = settled(harness)
    store = harness.context.store
    choose_baseline(page, "digits-resnet-at", "ptq w4")
    wait(harness, page)
    lines = page.table.model_.comparisons
    raw: dict[int, float] = {}
    for line, one in enumerate(lines):
        row = one.row
        if (row["model"], row["compression"]) == ("digits-resnet-at", "ptq w4"):
            assert one.reason == "baseline"
            continue
        attack = row["attack"].split("-")[0].split(" ")[0]
        other = harness.run("digits-resnet-at", "ptq w4", attack)
        if one.difference is None:
            continue
        assert one.beside["run_id"] == other
        mine, theirs = (
            np.array([sample["broken"] for sample in store.samples(run_id)])
            for run_id in (row["run_id"], other)
        )
        alone, there = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
        assert (one.difference.only_a, one.difference.only_b) == (alone, there)
        raw[line] = stats.binomtest(alone, alone + there).pvalue if alone + there else 1.0
    assert len(raw) > 10
    highest = 0.0
    for rank, line in enumerate(sorted(raw, key=raw.__getitem__)):
        highest = max(highest, min(1.0, raw[line] * (len(raw) - rank)))
        assert page.table.model_.adjusted[line] == pytest.approx(highest)
    assert page.differences.family.text() == f"p (Holm) over {len(raw)} differences"


def test_a_baseline_stays_under_a_filter_and_goes_with_its_study(harness: PageHarness) -> None:
    page = settled(harness)
    choose_baseline(page, "digits-resnet-at", "ptq w4")
    wait(harness, page)
    page.filter_line.set_now("compression!=ptq")
    wait(harness, page)
    assert page.differences.baseline() == Baseline("digits-resnet-at", "ptq w4")
    lines = page.table.model_.comparisons
    assert lines
    assert all(one.row["compression"] != "ptq w4" for one in lines)
    assert any(one.difference for one in lines)
    page.filter_line.set_now("")
    page.open([harness.run("digits-resnet", "none", "pgd")])
    wait(harness, page)
    assert page.differences.baseline() is None
    assert page._runs.baseline is None


def test_the_differences_that_are_shown_go_into_a_file(
    harness: PageHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = settled(harness)
    out = tmp_path / "differences.csv"
    monkeypatch.setattr(file_dialogs, "ask_save", lambda *_: out)
    page.export_menu.write_differences()
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    shown = [one for one in page.table.model_.comparisons if one.difference]
    assert [int(row["run_id"]) for row in rows] == [one.row["run_id"] for one in shown]
    assert [int(row["base_run_id"]) for row in rows] == [one.beside["run_id"] for one in shown]
    assert [float(row["p_holm"]) for row in rows] == list(page.table.model_.adjusted.values())


def test_a_baseline_has_the_same_model_and_attack(harness: PageHarness) -> None:
    rows = finished(harness)
    baseline = references(rows, rows)
    for row in rows:
        reference = baseline.get(row["run_id"])
        if row["compression"] == "none":
            assert reference is None
        else:
            assert reference is not None
            assert reference["compression"] == "none"
            assert (reference["model"], reference["attack"]) == (row["model"], row["attack"])


def test_every_finished_run_is_one_point_of_its_series(harness: PageHarness) -> None:
    rows = finished(harness)
    series = series_of(rows, RATE, ROBUST)

    assert len(series) == 4
    points = {point.run_id: point for group in series for point in group.points}
    assert set(points) == {row["run_id"] for row in rows}
    for row in rows:
        point = points[row["run_id"]]
        assert (point.x, point.y) == (row["compression_rate"], row["robust_accuracy"])
        assert (point.low, point.high) == pytest.approx((row["ci_low"], row["ci_high"]))
    for group in series:
        assert [point.x for point in group.points] == sorted(point.x for point in group.points)


def test_lines_join_only_variants_of_one_kind_and_the_base_model(harness: PageHarness) -> None:
    rows = {row["run_id"]: row for row in finished(harness)}
    pgd = next(
        group
        for group in series_of(list(rows.values()), RATE, ROBUST)
        if "at" in group.name and "pgd" in group.name
    )
    joined = [[pgd.points[place] for place in line] for line in pgd.line_places]
    lines = {tuple(rows[point.run_id]["compression"] for point in line) for line in joined}

    assert lines == {("none", "magnitude 50%", "magnitude 90%"), ("none", "ptq w4", "ptq w2")}


def test_along_eps_a_series_is_a_variant(harness: PageHarness) -> None:
    rows = [{**row} for row in finished(harness) if row["attack"].startswith("pgd")]
    more = [with_attack(row, row["run_id"] + 100, eps=0.3) for row in rows]
    series = series_of(rows + more, EPS, ROBUST)

    assert len(series) == len(rows)
    assert all([point.x for point in group.points] == [0.15, 0.3] for group in series)


def test_a_wide_range_is_drawn_on_a_logarithmic_axis(harness: PageHarness) -> None:
    rows = finished(harness)
    assert wants_log(series_of(rows, RATE, ROBUST))
    assert not wants_log(series_of(rows[:4], RATE, ROBUST))
    assert not wants_log(series_of(rows, X_AXES[3], ROBUST)), "sparsity 0 has no logarithm"


@pytest.mark.parametrize("x", range(len(X_AXES)))
@pytest.mark.parametrize("y", range(len(Y_AXES)))
def test_every_choice_of_axes_draws_all_runs(harness: PageHarness, x: int, y: int) -> None:
    page = harness.page("compare")
    page.tradeoff.x_box.setCurrentIndex(x)
    page.tradeoff.y_box.setCurrentIndex(y)

    assert len(page.drawn_runs()) == 18
    assert len(page.tradeoff.chart.spots.points()) == 18


def test_flagged_points_are_hollow_in_both_themes(harness: PageHarness) -> None:
    assert harness.results is not None
    page = harness.page("compare")
    for mode in ("dark", "light"):
        theme.current().use(mode)
        paper = QColor(theme.plot_colours().background)
        spots = page.tradeoff.chart.spots.points()
        hollow = {spot.data().run_id for spot in spots if spot.brush().color() == paper}
        assert harness.results.flagged in hollow
        assert hollow == {row["run_id"] for row in harness.context.store.results() if row["flags"]}
    assert f"Hollow: flagged ({len(hollow)} runs)" in page.tradeoff.note.text()


def test_unticking_a_series_takes_it_out_of_chart_and_exports(harness: PageHarness) -> None:
    page = harness.page("compare")
    before = set(page.drawn_runs())
    item = page.tradeoff.series.item(0)
    name = item.text()
    item.setCheckState(Qt.CheckState.Unchecked)

    hidden = {
        point.run_id
        for group in series_of(titled(finished(harness), titles()), RATE, ROBUST)
        if group.name == name
        for point in group.points
    }
    assert set(page.drawn_runs()) == before - hidden
    page.tradeoff.series.item(0).setCheckState(Qt.CheckState.Checked)
    assert set(page.drawn_runs()) == before


def shapes(page: Any) -> dict[str, set[object]]:
    """The markers in the chart by method."""
    spots = page.tradeoff.chart.spots.points()
    found: dict[str, set[object]] = {}
    for spot in spots:
        found.setdefault(spot.data().method, set()).add(spot.symbol())
    return found


def test_a_marker_is_a_method_and_its_tick_takes_it_out(harness: PageHarness) -> None:
    page = harness.page("compare")
    drawn, series = shapes(page), page.tradeoff.series
    assert set(drawn) == {"none", "magnitude", "ptq"}
    assert sorted(map(len, drawn.values())) == [1, 1, 1]
    assert len(set.union(*drawn.values())) == 3
    names = [series.item(place).text() for place in range(series.count())]
    assert names[-3:] == ["magnitude", "ptq", "uncompressed"]
    drawn_of = Counter(spot.data().method for spot in page.tradeoff.chart.spots.points())
    tips = [series.item(place).toolTip() for place in range(series.count())]
    assert tips[-3:] == [
        f"{name}: {drawn_of[method]} runs"
        for name, method in zip(names[-3:], ("magnitude", "ptq", "none"), strict=True)
    ]
    before = page.drawn_runs()
    series.item(series.count() - 2).setCheckState(Qt.CheckState.Unchecked)
    assert set(shapes(page)) == {"none", "magnitude"}
    gone = {row["run_id"] for row in finished(harness) if row["compression"].startswith("ptq")}
    assert set(page.drawn_runs()) == set(before) - gone
    # Along eps every variant is a series with a marker of its own, and nothing stays hidden.
    page.tradeoff.x_box.setCurrentIndex(X_AXES.index(EPS))
    assert len(page.drawn_runs()) == len(before)
    assert series.count() == len(series_of(finished(harness), EPS, ROBUST))


def test_there_is_a_marker_for_every_method(harness: PageHarness) -> None:
    methods = [f"method {number}" for number in range(30)]
    markers = theme.method_markers([*methods, "none"])
    assert len(set(markers.values())) == 31
    outlines = [shape(marker) for marker in markers.values()]
    for outline in outlines:
        if isinstance(outline, QPainterPath):
            box = outline.boundingRect()
            assert box.height() == pytest.approx(1)
            assert (box.center().x(), box.center().y()) == pytest.approx((0, 0), abs=1e-6)
    assert sum(isinstance(outline, QPainterPath) for outline in outlines) == 19


def test_one_method_alone_leaves_markers_to_the_attacks(harness: PageHarness) -> None:
    rows = [row for row in finished(harness) if not row["compression"].startswith("ptq")]
    assert methods_of(series_of(rows, RATE, ROBUST), RATE) == ()
    both = series_of(finished(harness), RATE, ROBUST)
    assert methods_of(both, RATE) == ("magnitude", "ptq", "none")
    assert methods_of(both, EPS) == ()


def test_a_click_on_a_point_selects_its_row(harness: PageHarness) -> None:
    page = settled(harness)
    chart = page.tradeoff.chart
    spot = next(spot for spot in chart.spots.points() if spot.data().run_id == 8)
    place = chart.mapFromScene(chart.spots.mapToScene(spot.pos()))
    QTest.mouseClick(chart.viewport(), Qt.MouseButton.LeftButton, pos=place)

    assert harness.selections[-1] == [spot.data().run_id]
    assert page.table.selected() == [spot.data().run_id]


def test_chosen_runs_and_the_filter_narrow_what_is_compared(harness: PageHarness) -> None:
    page = harness.page("compare")
    page.open([1, 3, 11])
    assert sorted(page.drawn_runs()) == [1, 3, 11]
    page.filter_line.set_now("model=digits-resnet-at")
    assert page.drawn_runs() == [11]
    page.filter_line.set_now("robust>100")
    assert page.stack.currentWidget() is page.no_match
    page.show_all()
    assert len(page.drawn_runs()) == 18


def test_data_and_picture_of_the_chart(
    harness: PageHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = harness.page("compare")
    for suffix in (".csv", ".svg", ".png"):
        monkeypatch.setattr(
            file_dialogs, "ask_save", lambda *_, end=suffix: tmp_path / f"chart{end}"
        )
        page.export_menu.write_here(suffix)

    with (tmp_path / "chart.csv").open() as file:
        rows = {int(row["run_id"]): row for row in csv.DictReader(file)}
    stored = {row["run_id"]: row for row in finished(harness)}
    assert set(rows) == set(stored)
    for run_id, row in rows.items():
        assert float(row["robust_accuracy"]) == stored[run_id]["robust_accuracy"]
        assert float(row["compression_rate"]) == stored[run_id]["compression_rate"]
    assert ElementTree.parse(tmp_path / "chart.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_the_figure_is_drawn_in_another_process(
    harness: PageHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "figure.svg"
    monkeypatch.setattr(file_dialogs, "ask_save", lambda *_: target)
    page = harness.page("compare")
    page.export_menu.write_figure(".svg")
    harness.qtbot.waitUntil(lambda: harness.messages[-1].level == "ok")

    assert str(target) in harness.messages[-1].text
    text = "".join(ElementTree.parse(target).getroot().itertext())
    legend = page.tradeoff.series
    names = [legend.item(row).text() for row in range(legend.count())]
    assert any(model_title("digits-resnet-at") in name for name in names)
    assert all(name in text for name in names), "the figure and the window name alike"


def test_a_figure_that_cannot_be_written_says_why(
    harness: PageHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_dialogs, "ask_save", lambda *_: tmp_path / "missing" / "figure.svg")
    page = harness.page("compare")
    page.export_menu.write_figure(".svg")
    harness.qtbot.waitUntil(lambda: harness.messages[-1].level == "error")

    assert "cannot be written" in harness.messages[-1].text


def test_a_study_is_reported_in_another_process(
    harness: PageHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_dialogs, "ask_save", lambda *_: tmp_path / "mine")
    page = harness.page("compare")
    study = page.studies.study()
    assert study is not None
    page.export_menu.write_report()
    harness.qtbot.waitUntil(lambda: harness.messages[-1].level in ("ok", "error"))

    target = tmp_path / "mine.zip"
    assert harness.messages[-1].text == f"Written to {target}."
    with zipfile.ZipFile(target) as archive:
        assert f"<h1>{study}</h1>" in archive.read("index.html").decode()


def test_without_a_study_there_is_no_report(harness: PageHarness) -> None:
    page = harness.page("compare")
    for name, enabled in ((page.studies.study(), True), (None, False)):
        page.studies.choose(name)
        page.export_menu.aboutToShow.emit()
        (report,) = [one for one in page.export_menu.actions() if "Report" in one.text()]
        assert report.isEnabled() == enabled


def test_stopping_an_export_leaves_no_process(qtbot: QtBot, tmp_path: Path) -> None:
    export = FileProcess(["-c", "import time; time.sleep(60)"], tmp_path / "figure.svg")
    told: list[str] = []
    export.refused.connect(lambda reason, _field: told.append(reason))
    export.start()
    assert export.process.waitForStarted()
    export.stop()

    assert export.process.state() == export.process.ProcessState.NotRunning
    assert told == [""]


def test_a_stopped_export_is_no_failure(harness: PageHarness) -> None:
    page = harness.page("compare")
    before = list(harness.messages)
    page.export_menu._refused("")
    assert harness.messages == before


def test_axes_and_filter_survive_a_restart(harness: PageHarness) -> None:
    page = harness.page("compare")
    page.tradeoff.x_box.setCurrentIndex(1)
    page.tradeoff.y_box.setCurrentIndex(1)
    page.filter_line.set_now("attack=fgsm")
    page.save_state()
    again = harness.page("compare")

    assert (again.tradeoff.x_box.currentData(), again.tradeoff.y_box.currentData()) == (SIZE, CLEAN)
    assert again.drawn_runs() == page.drawn_runs()


def queue_another_study(harness: PageHarness) -> None:
    """One run that waits, of a study named "Newest"."""
    table = {
        "name": "Newest",
        "dataset": {"name": "digits", "limit": 10},
        "model": [{"name": "digits-resnet"}],
        "attack": [{"name": "fgsm"}],
    }
    study = Study.from_dict(table)
    with Writer(harness.context.store.path, exclusive=False) as writer:
        writer.add_study(study, [(study.runs()[0], RunKeys("own", "own-variant", "own-data"))])


def test_the_newest_study_is_compared_until_a_person_chooses(harness: PageHarness) -> None:
    page = harness.page("compare")
    assert page.studies.study() == STUDY
    queue_another_study(harness)
    page.refresh()
    assert page.studies.study() == "Newest"
    assert page.stack.currentWidget() is page.no_match
    page.save_state()
    assert harness.page("compare").studies.study() == "Newest"
    page.no_match.buttons[0].click()
    assert page.studies.study() is None
    page.refresh()
    page.save_state()
    assert harness.page("compare").studies.study() is None
