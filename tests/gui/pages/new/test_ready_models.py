"""The picker of New: what it shows, what keys do, and downloads beside it."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from engine.catalog.models import published as lists
from engine.catalog.models.offers import Offer
from engine.catalog.models.published import PublishedWeights, find, published
from gui.base import offer_words
from gui.base.page_context import PageContext
from gui.bridge.pace import Pace
from gui.pages.new.measured_images import MOST, measured_on, missing_images
from gui.pages.new.model_picker import ModelPicker
from gui.pages.new.page import NewPage
from gui.pages.new.ready_models import ReadyModels
from gui.pages.new.weights_download import WeightsDownload
from tests.helpers.import_kit import error_line, report
from tests.helpers.new_page import choose_dataset
from tests.helpers.published import write_cifar
from tests.helpers.screen_reader import nameless

WONG = "robustbench.Linf.Wong2020Fast"


@pytest.fixture(autouse=True)
def all_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All packages are installed, and no dataset lies in its usual place."""
    monkeypatch.setattr(lists.importlib.metadata, "distribution", lambda name: name)
    monkeypatch.setenv("CRUMPLE_DATASETS", str(tmp_path / "datasets"))


@pytest.fixture
def page(qtbot: QtBot, context: PageContext) -> NewPage:
    page = NewPage(context)
    qtbot.addWidget(page)
    page.show()
    return page


@pytest.fixture
def ready(page: NewPage) -> ReadyModels:
    return page.data.model_list.ready


@pytest.fixture
def picker(page: NewPage, ready: ReadyModels) -> ModelPicker:
    page.data.model_list.add_button.click()
    assert ready.picker is not None
    return ready.picker


def weights(name: str = WONG, classes: int = 10) -> PublishedWeights:
    found = find(name, classes)
    assert found is not None
    return found


def shown(picker: ModelPicker) -> list[str]:
    return [
        picker.proxy.index(row, 0).data(Qt.ItemDataRole.DisplayRole)
        for row in range(picker.proxy.rowCount())
    ]


def choose(picker: ModelPicker, key: str, data: object) -> None:
    box = picker.filters[key]
    place = box.findData(data)
    assert place > 0
    box.setCurrentIndex(place)
    box.activated.emit(place)


# -- what is shown -----------------------------------------------------------------------------


def test_everything_is_shown_at_first_and_what_lies_here_stands_first(picker: ModelPicker) -> None:
    assert len(shown(picker)) == len(published()) + 2
    assert shown(picker)[:2] == ["Digits ResNet, adversarially trained", "Digits ResNet"]
    assert picker.count.text().startswith(f"{len(published()) + 2:,} of")
    assert nameless(picker) == []


def test_each_filter_leaves_what_it_says(picker: ModelPicker) -> None:
    choose(picker, "dataset", "cifar100")
    rows = [picker.proxy.index(row, 0) for row in range(picker.proxy.rowCount())]
    assert {row.siblingAtColumn(1).data() for row in rows} == {"cifar100"}
    choose(picker, "training", "standard")
    assert shown(picker) == []
    choose(picker, "training", "robust")
    many = len(shown(picker))
    choose(picker, "most", 30_000_000)
    assert 0 < len(shown(picker)) < many
    choose(picker, "licence", "apache-2.0")
    assert all("Rebuffi" in name or "Gowal" in name for name in shown(picker))
    picker.reset.click()
    choose(picker, "where", "torchvision")
    assert all(name.startswith("torchvision.") for name in shown(picker))
    choose(picker, "licence", "")
    assert len(shown(picker)) == sum(one.package == "torchvision" for one in published())
    picker.reset.click()
    picker.fitting.click()
    assert len(shown(picker)) == 2, "only the bundled ones take the digits"


def test_words_search_names_datasets_and_papers(picker: ModelPicker) -> None:
    picker.search.setText("wong2020 cifar10")
    assert shown(picker) == [WONG]
    picker.search.setText("2001.03994")
    assert WONG in shown(picker)
    assert "Clean: 83.3% (RobustBench)" in picker.facts.text()
    assert "Robust: 43.2% Linf 8/255 (RobustBench, by AutoAttack" in picker.facts.text()


def test_nothing_found_leads_on(picker: ModelPicker) -> None:
    picker.search.setText("no such thing")
    assert picker.empty.isVisible()
    assert not picker.table.isVisible()
    assert not picker.add_button.isEnabled()
    picker.reset.click()
    assert picker.table.isVisible()
    assert picker.search.text() == ""


def test_it_opens_with_the_models_of_the_chosen_dataset(page: NewPage, ready: ReadyModels) -> None:
    choose_dataset(page, "cifar10")
    ready.pick()
    assert ready.picker is not None
    assert ready.picker.filters["dataset"].currentData() == "cifar10"
    assert WONG in shown(ready.picker)
    assert ready.picker.fit.text() == ""
    choose_dataset(page, "svhn")
    assert ready.picker.fit.text() == "", "the same shape and number of classes"
    choose_dataset(page, "cifar100")
    assert "the images have 100 classes, the model knows 10" in ready.picker.fit.text()


def test_what_does_not_fit_says_why(picker: ModelPicker) -> None:
    picker.search.setText(WONG)
    assert picker.fit.text().startswith(
        "Does not fit: the images are 8x8 grey, the model takes 32x32 colour."
    )


# -- keys --------------------------------------------------------------------------------------


def test_typing_filters_enter_adds_and_escape_closes(
    picker: ModelPicker, page: NewPage, qtbot: QtBot
) -> None:
    picker.search.setFocus()
    qtbot.keyClicks(picker.search, "digits resnet")
    qtbot.keyClick(picker.search, Qt.Key.Key_Down)
    qtbot.keyClick(picker.search, Qt.Key.Key_Return)
    assert page.data.model_list.ticked() == ["digits-resnet"]
    assert picker.note.text() == "Digits ResNet is ticked."
    assert picker.isVisible()
    qtbot.keyClick(picker.search, Qt.Key.Key_Return)
    assert picker.note.text() == "Digits ResNet is ticked already."
    qtbot.keyClick(picker.search, Qt.Key.Key_Escape)
    assert picker.search.text() == ""
    qtbot.keyClick(picker.search, Qt.Key.Key_Escape)
    assert not picker.isVisible()


def test_typing_in_the_table_goes_on_in_the_search(picker: ModelPicker, qtbot: QtBot) -> None:
    picker.table.setFocus()
    qtbot.keyClick(picker.table, Qt.Key.Key_W)
    assert picker.search.text() == "w"
    picker.table.setFocus()
    qtbot.keyClick(picker.table, Qt.Key.Key_Escape)
    assert not picker.isVisible()


# -- why nothing begins ------------------------------------------------------------------------


def test_without_its_images_or_package_nothing_begins_and_the_way_is_said(
    ready: ReadyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, role = ready.add(Offer(published=weights()))
    assert role == "warning"
    assert "choose the dataset cifar10 under Study and data, press Download there" in text
    text, _ = ready.add(Offer(published=weights("torchvision.resnet18", 1000)))
    assert "fetch them from image-net.org" in text

    def none(name: str) -> object:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(lists.importlib.metadata, "distribution", none)
    text, role = ready.add(Offer(published=weights()))
    assert (role, "pip install 'crumple[robustbench]'" in text) == ("warning", True)
    assert not ready.downloads


def test_images_are_the_chosen_ones_or_those_it_was_made_for(tmp_path: Path) -> None:
    one = weights("torchvision.resnet18", 1000)
    own = {"name": "imagenet", "resize": 256, "crop": 224}
    assert measured_on(one, {}) == own, "nothing lies there, so no number of images is sure"
    for number in range(MOST):
        folder = tmp_path / "val" / str(number % 4)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").touch()
    chosen = {**own, "root": str(tmp_path)}
    assert measured_on(one, chosen) == {**chosen, "limit": MOST}
    assert missing_images(chosen) == ""
    few = {**chosen, "limit": 10, "train_limit": 5}
    assert measured_on(one, few) == {**chosen, "limit": 10}
    write_cifar(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    assert missing_images({"name": "cifar10", "root": str(tmp_path)}) == ""
    assert "There is no" in missing_images({"npz": str(tmp_path / "none.npz")})


# -- downloads ---------------------------------------------------------------------------------


def line(**fields: object) -> str:
    return f"print({json.dumps(fields)!r}, file=sys.stderr, flush=True)\n"


BYTES = line(doing="Downloading the weights ...", share=0.25, done=10_000_000, total=40_000_000)


def begin(ready: ReadyModels, script: str, name: str = WONG, classes: int = 10) -> WeightsDownload:
    """A download by a program of ours instead of the command line."""
    download = WeightsDownload(weights(name, classes), ["-c", f"import sys, time\n{script}"])
    ready.begin(download)
    return download


def test_one_at_a_time_is_shown_with_bytes_and_stops_for_later(
    page: NewPage, picker: ModelPicker, ready: ReadyModels, qtbot: QtBot
) -> None:
    first = begin(ready, f"{BYTES}time.sleep(60)")
    second = begin(ready, "time.sleep(60)", "torchvision.resnet18", 1000)
    qtbot.waitUntil(lambda: first.stage == "25 %")
    assert first.note.text().startswith("10 MB of 40 MB")
    assert first.bar.value() / first.bar.maximum() == pytest.approx(0.25, abs=0.01)
    picker.search.setText(WONG)
    assert "25 %" in [picker.proxy.index(row, 7).data() for row in range(picker.proxy.rowCount())]
    text, _ = ready.add(Offer(published=weights()))
    assert "is on the way" in text
    assert (ready.busy, second.running, second.stage) == (True, False, "waiting")
    assert page.data.downloading, "so closing the window asks first"
    first.button.click()
    qtbot.waitUntil(lambda: first.stage == "stopped")
    assert first.note.text() == "Stopped; it goes on from there."
    assert first.button.text() == "Try again"
    qtbot.waitUntil(lambda: second.running)
    second.button.click()
    qtbot.waitUntil(lambda: not ready.busy)
    for one in (first, second):
        one.dismiss.click()
    assert not ready.downloads
    assert not ready.isVisible()


def test_a_failure_says_why_and_tries_again(ready: ReadyModels, qtbot: QtBot) -> None:
    error = f"print({error_line('the connection ended.')!r}, file=sys.stderr)\nsys.exit(2)"
    download = begin(ready, error)
    qtbot.waitUntil(lambda: download.stage == "failed")
    assert download.note.text() == "the connection ended."
    assert download.note.property("role") == "error"
    assert not download.bar.isVisible()
    with qtbot.waitSignal(download.over):
        download.button.click()
    qtbot.waitUntil(lambda: download.stage == "failed")
    download.dismiss.click()


def test_what_the_doctor_does_not_keep_says_where_to_look(ready: ReadyModels, qtbot: QtBot) -> None:
    sick = report(health="not healthy", verdict="Near guessing.", model="")
    download = begin(ready, f"print({sick.model_dump_json()!r})\nsys.exit(1)")
    qtbot.waitUntil(lambda: download.stage == "not healthy")
    assert "Near guessing." in download.note.text()
    assert f"import {WONG} with File > Import model" in download.note.text()
    download.dismiss.click()


def test_a_model_that_arrives_is_ticked_and_no_longer_offered(
    page: NewPage, picker: ModelPicker, ready: ReadyModels, qtbot: QtBot
) -> None:
    done = report(model="digits-resnet")
    begin(ready, f"print({done.model_dump_json()!r})")
    with qtbot.waitSignal(page.data.model_list.arrived):
        pass
    assert page.data.model_list.ticked() == ["digits-resnet"]
    assert picker.note.text() == f"{WONG} is in the library and ticked."
    assert not ready.downloads


# -- words -------------------------------------------------------------------------------------


def test_progress_in_words() -> None:
    assert offer_words.progress(0, None, None) == "0 B"
    assert offer_words.progress(12_400_000, 102_530_333, 4_100_000) == (
        "12 MB of 103 MB, 4.1 MB/s, 0:22 left"
    )
    assert offer_words.progress(5_000, None, 900) == "5.0 kB, 900 B/s"
    assert [offer_words.size(n) for n in (999, 999_600, 999_400_000, 1_640_000_000)] == [
        "999 B",
        "1.0 MB",
        "999 MB",
        "1.6 GB",
    ]


def test_the_pace_is_that_of_late_and_begins_anew() -> None:
    pace = Pace()
    assert pace.note(0, 0.0) is None
    assert pace.note(1000, 1.0) == 1000
    for second in range(2, 31):
        rate = pace.note(1000 + 10 * (second - 1), float(second))
    assert rate == pytest.approx(10)
    assert pace.note(0, 31.0) is None, "a server without ranges sent all again"
    assert pace.note(50, 32.0) == 50
