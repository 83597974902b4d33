"""The Inspector page: pictures, order, navigation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QSettings, Qt
from PySide6.QtGui import QImage
from PySide6.QtTest import QTest

from engine.store import Store
from engine.store.environments import environment_id
from gui.base import file_dialogs
from gui.base.page_context import make_context
from gui.bridge.engine_client import QtEngineClient
from gui.pages.inspector.kept_images import (
    confidence_drop,
    figures,
    flipped,
    read_examples,
    verdict,
)
from gui.pages.inspector.page import READING
from gui.pages.inspector.pixels import fitting_scale, perturbation, picture
from tests.helpers.fake_results import FakeResults
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.inline import Held
from tests.helpers.page_kit import PageHarness
from tests.helpers.patient_bot import PatientBot

RUN = ("digits-resnet-at", "magnitude 90%", "pgd")


def pixels(image: QImage) -> np.ndarray:
    """(H,W,3) uint8."""
    image = image.convertToFormat(QImage.Format.Format_RGB888)
    rows = [
        [image.pixelColor(x, y).getRgb()[:3] for x in range(image.width())]
        for y in range(image.height())
    ]
    return np.array(rows, np.uint8)


# -- pictures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("width", [5, 8])
def test_a_picture_has_the_pixels_of_the_image(channels: int, width: int) -> None:
    image = np.random.default_rng(0).random((channels, 8, width), np.float32)
    expected = np.rint(255 * image).transpose(1, 2, 0)

    assert np.array_equal(pixels(picture(image)), np.broadcast_to(expected, (8, width, 3)))


def test_a_perturbation_of_zero_is_neutral() -> None:
    assert (pixels(perturbation(np.zeros((1, 2, 2), np.float32), 50)) == 255).all()
    assert (pixels(perturbation(np.zeros((3, 2, 2), np.float32), 50)) == 128).all()
    assert (pixels(perturbation(np.zeros((1, 2, 2), np.float32), 50, absolute=True)) == 0).all()


def test_signs_differ_in_hue_and_sizes_in_strength() -> None:
    delta = np.array([[[-0.1, -0.05, 0.0, 0.05, 0.1]]], np.float32)
    row = pixels(perturbation(delta, 10))[0].astype(int)

    assert row[0, 2] > row[0, 0], "blue is minus"
    assert row[4, 0] > row[4, 2], "vermilion is plus"
    distance = np.abs(row - 255).sum(1)
    assert distance[0] > distance[1] > distance[2] < distance[3] < distance[4]
    sizes = pixels(perturbation(delta, 10, absolute=True))[0, :, 0]
    assert np.array_equal(sizes, sizes[::-1])


@pytest.mark.parametrize("factor", [1.0, 7.0, 100.0])
def test_amplification_multiplies_and_then_cuts_off(factor: float) -> None:
    delta = np.linspace(-0.2, 0.2, 9, dtype=np.float32).reshape(1, 3, 3)
    shown = pixels(perturbation(delta, factor, absolute=True))[..., 0]

    assert np.array_equal(shown, np.rint(255 * np.clip(np.abs(delta[0]) * factor, 0, 1)))


@pytest.mark.parametrize(
    ("side", "room", "scale"), [(8, 250, 31), (8, 8, 1), (224, 100, 100 / 224)]
)
def test_small_images_grow_by_whole_numbers(side: int, room: int, scale: float) -> None:
    assert fitting_scale(side, side, room, room) == pytest.approx(scale)


# -- the page ----------------------------------------------------------------------------------


def by_index(harness: PageHarness) -> Any:
    """A page that lists the images as they are numbered."""
    page = harness.page("inspector")
    page.open(harness.run(*RUN))
    page.order.setCurrentIndex(page.order.findData("index"))
    page.list.setCurrentIndex(page.model.index(0, 0))
    return page


def test_only_flipped_images_are_visited(harness: PageHarness) -> None:
    run_id = harness.run(*RUN)
    page = harness.page("inspector")
    page.open(run_id)
    page.shown.setCurrentIndex(page.shown.findData("flipped"))
    samples = harness.context.store.samples(run_id)[:24]
    expected = [
        row["index"] for row in samples if row["broken"] and row["clean_prediction"] == row["label"]
    ]
    assert 1 < len(expected) < len(samples)

    page.list.setFocus()
    page.list.setCurrentIndex(page.model.index(0, 0))
    visited = [page.examples.samples[page.place]["index"]]
    for key in (Qt.Key.Key_Right, Qt.Key.Key_J) * len(expected):
        QTest.keyClick(page.list, key)
        visited.append(page.examples.samples[page.place]["index"])
    assert list(dict.fromkeys(visited)) == expected
    assert visited[-1] == expected[-1], "the last image is the end"

    QTest.keyClick(page.list, Qt.Key.Key_Left)
    assert page.examples.samples[page.place]["index"] == expected[-2]
    assert page.position.text() == f"{len(expected) - 1} of {len(expected)}"


def test_stepping_is_not_typing_into_the_list(harness: PageHarness) -> None:
    # Class names that begin with the keys that step through the images.
    names = {"class_names": ["zero", "jay", "kite", *(f"j{n}" for n in range(7))]}
    db = harness.context.store.db
    with db.atomic():
        db.execute("UPDATE runs SET environment_id = ?", (environment_id(db, names),))
    page = by_index(harness)
    page.list.setFocus()
    places = [page.place]
    for key in (Qt.Key.Key_J, Qt.Key.Key_J, Qt.Key.Key_J, Qt.Key.Key_K):
        QTest.keyClick(page.list, key)
        places.append(page.place)

    assert places == [0, 1, 2, 3, 2]


def test_orders(harness: PageHarness) -> None:
    examples = read_examples(harness.context.store, harness.run(*RUN))
    rows = examples.samples
    l2 = [rows[place]["l2"] for place in examples.places("all", "l2")]
    drops = [confidence_drop(rows[place]) for place in examples.places("all", "drop")]

    assert l2 == sorted(l2)
    assert drops == sorted(drops, reverse=True)
    assert flipped(rows[examples.places("all", "drop")[0]]), "the surest mistake comes first"


def test_kinds_of_images_agree_with_their_words(harness: PageHarness) -> None:
    examples = read_examples(harness.context.store, harness.run("digits-resnet", "none", "pgd"))
    kinds = {kind: examples.places(kind, "index") for kind in ("flipped", "held", "wrong")}

    assert sorted(place for places in kinds.values() for place in places) == examples.places(
        "all", "index"
    )
    for place in kinds["flipped"]:
        assert verdict(examples.samples[place]).startswith("broken at step")
    assert {verdict(examples.samples[place]) for place in kinds["held"]} == {"held"}
    place = next(iter(kinds["flipped"]))
    assert figures(examples, place)["verdict"] == verdict(examples.samples[place])
    examples.samples[place]["settled_by"] = "example of run 3"
    told = figures(examples, place)["verdict"]
    assert told == f"{verdict(examples.samples[place])}, by example of run 3"


def test_the_views_show_the_images_of_the_place(harness: PageHarness) -> None:
    page = by_index(harness)
    page.step(3)
    images = harness.context.store.images(harness.run(*RUN))

    for kind in ("clean", "adversarial"):
        expected = np.rint(255 * images[kind][3][0])
        assert np.array_equal(pixels(page.panel.views[kind].image)[..., 0], expected)
    delta = images["adversarial"][3] - images["clean"][3]
    for step in (0, 5):
        page.panel.amplification.setValue(step)
        expected = pixels(perturbation(delta, page.panel.factor))
        assert np.array_equal(pixels(page.panel.views["delta"].image), expected)


def test_views_zoom_together_and_on_whole_pixels(harness: PageHarness) -> None:
    page = harness.page("inspector")
    page.open(harness.run(*RUN))
    views = list(page.panel.views.values())
    page.panel.views["clean"].setMaximumWidth(203)
    harness.qtbot.waitUntil(lambda: page.panel.views["clean"].width() <= 203)
    assert {view._target().width() % 8 for view in views} == {0}
    assert len({view._target().width() for view in views}) == 1, "side by side, equally large"
    before = [view._target().width() for view in views]
    QTest.keyClick(views[0], Qt.Key.Key_Plus)
    after = [view._target().width() for view in views]

    assert all(b > a for a, b in zip(before, after, strict=True))
    QTest.keyClick(views[2], Qt.Key.Key_0)
    assert [view._target().width() for view in views] == before


def test_another_run_opens_at_the_same_image(harness: PageHarness) -> None:
    page = by_index(harness)
    page.step(5)
    page.open(harness.run("digits-resnet-at", "none", "pgd"))

    assert page.place == 5
    assert harness.selections[-1] == [harness.run("digits-resnet-at", "none", "pgd")]


def test_a_run_without_images_says_so(harness: PageHarness) -> None:
    assert harness.results is not None
    page = harness.page("inspector")
    page.open(harness.results.failed)

    assert page.stack.currentWidget() is page.no_images
    assert "failed" in page.no_images.text.text()
    page.open(harness.run(*RUN))
    assert page.stack.currentWidget() is not page.no_images


def test_damaged_images_of_a_run_are_said_and_others_are_shown(harness: PageHarness) -> None:
    page = harness.page("inspector")
    shown, other = (page.runs.itemData(row) for row in (0, 1))
    for file in (harness.context.store.artifacts / "runs" / str(shown)).iterdir():
        file.write_bytes(b"damaged")
    page.open(other)
    assert page.examples is not None
    page.open(shown)
    assert page.examples is None
    assert "is not what was written" in harness.messages[-1].text
    page.open(other)
    assert page.examples is not None


def test_the_same_image_in_other_runs(harness: PageHarness) -> None:
    page = harness.page("inspector")
    page.open(harness.run(*RUN))
    page.step(4)
    assert not page.same._waiting
    index = page.examples.samples[page.place]["index"]

    assert page.same.rowCount() == 9
    for line in range(page.same.rowCount()):
        run = harness.context.store.result(page.same.run_of(line))
        assert run["attack"] == "pgd-20 0.15"
        sample = next(
            row for row in harness.context.store.samples(run["run_id"]) if row["index"] == index
        )
        assert page.same.item(line, 4).text() == verdict(sample)


def test_a_sheet_is_written(
    harness: PageHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "sheet.png"
    monkeypatch.setattr(file_dialogs, "ask_save", lambda *_: target)
    page = harness.page("inspector")
    page.open(harness.run(*RUN))
    page.export()
    sheet = QImage(str(target))

    assert not sheet.isNull()
    assert harness.messages[-1].level == "ok"
    # The first clean image, 16 times as large, stands in the first square.
    clean = page.examples.clean[0][0]
    shown = pixels(sheet.copy(8, 24, 128, 128))[8::16, 8::16, 0]
    assert np.array_equal(shown, np.rint(255 * clean))


def test_choices_survive_a_restart(harness: PageHarness) -> None:
    page = harness.page("inspector")
    page.shown.setCurrentIndex(page.shown.findData("flipped"))
    page.order.setCurrentIndex(page.order.findData("drop"))
    page.panel.absolute.setChecked(True)
    page.save_state()
    again = harness.page("inspector")

    assert (again.shown.currentData(), again.order.currentData()) == ("flipped", "drop")
    assert again.panel.absolute.isChecked()


def test_images_that_the_attack_flipped_come_first(harness: PageHarness) -> None:
    page = harness.page("inspector")
    samples = page.examples.samples
    shown = [page.model.place(row) for row in range(page.model.rowCount())]
    flips = [place for place in range(len(samples)) if flipped(samples[place])]
    assert 0 < len(flips) < len(samples)
    assert shown == flips + [place for place in range(len(samples)) if place not in flips]
    assert page.place == flips[0]


def test_images_are_being_read_until_they_have_been_and_the_newest_wins(
    results: FakeResults,
    engine: FakeEngineClient,
    settings: QSettings,
    qtbot: PatientBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread = Held()
    store = Store(results.path)
    context = make_context(store, QtEngineClient(engine), settings, executor=thread)
    harness = PageHarness(qtbot, context, results)
    page = harness.page("inspector")
    assert page.stack.currentWidget() is page.reading
    thread.go_on()
    read: list[int] = []
    real = Store.images

    def images(self: Store, run_id: int) -> Any:
        read.append(run_id)
        return real(self, run_id)

    monkeypatch.setattr(Store, "images", images)
    first, second = harness.run(*RUN), harness.run("digits-resnet", "none", "pgd")
    for run_id in (first, second):
        page.open(run_id)
        assert page.stack.currentWidget() is page.reading
        assert page.evidence.text.text() == READING, "not what is known of another run"
        assert not page.examples
    thread.go_on()
    assert page.examples.run_id == second
    assert page.stack.currentWidget() is page.stack.widget(0)
    assert page.evidence.text.text() != READING
    assert read == [second], "what nobody looks at any more is not read"
    context.close()
    thread.go_on()


def test_a_run_that_is_in_no_list_is_shown_all_the_same(harness: PageHarness) -> None:
    run_id = harness.run(*RUN)
    harness.context.store.set_deleted([run_id])
    harness.context.runs.refresh()
    page = harness.page("inspector")
    assert page.runs.findData(run_id) < 0
    page.open(run_id)
    assert page.examples.run_id == run_id
    assert page.runs.currentData() == run_id
    page.open(12345)
    assert "12345" in harness.messages[-1].text
    assert page.examples.run_id == run_id, "what was shown stays"


def test_a_change_looks_at_few_of_many_runs(
    harness: PageHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gui.widgets.recent_runs.recent.__defaults__", (3,))
    monkeypatch.setattr(Store, "queue", None)
    monkeypatch.setattr(Store, "results", None)
    page = harness.page("inspector")
    page.open(harness.run(*RUN))
    assert page.runs.count() == 4, "the list is as long as asked, and the run that is shown"
    read: list[int] = []
    monkeypatch.setattr(Store, "samples", lambda self, run_id: read.append(run_id))
    monkeypatch.setattr(Store, "images", lambda self, run_id: read.append(run_id))
    harness.context.store.annotate(1, note="new")
    harness.context.runs.refresh()
    assert read == [], "the images of this run are the same"
    assert page.runs.currentData() == page.run_id == harness.run(*RUN)


def test_a_run_is_found_by_its_words(harness: PageHarness) -> None:
    page = harness.page("inspector")
    wanted = harness.run("digits-resnet", "ptq w4", "fgsm")
    page.runs.line.setFocus()
    page.runs.line.selectAll()
    QTest.keyClicks(page.runs.line, "model=digits-resnet ptq w4 fgsm")
    QTest.keyClick(page.runs.line, Qt.Key.Key_Return)
    assert page.examples.run_id == wanted
    before = page.place
    QTest.keyClick(page, Qt.Key.Key_J)
    assert page.place != before, "the keys step through images again"
